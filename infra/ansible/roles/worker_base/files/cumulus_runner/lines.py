"""A program's output, in pieces of bytes as it comes, into lines for the log. Owns what a line may look like; writes nothing.

The log's reader takes a line for the runner's own by its prefix, so a program's line that looks like that gets a blank in front.
No line is longer than MAX_LINE characters, and none holds a character at which some reader would see another line begin.
"""

from __future__ import annotations

import codecs
import re
import time
from typing import Callable

SERVER, STDERR, INFO = "[SERVER]", "[STDERR]", "[INFO]"
PREFIXES = (SERVER, STDERR, INFO)
MAX_LINE = 64 * 1024
PROGRESS_S = 5.0
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\^_]")
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(0x7F, 0xA0)) if code != 9}
_CONTROLS.update({0x2028: " ", 0x2029: " "})


def harmless(text: str) -> str:
    """The text of one line without what would make it look like more or other than that."""
    if "\x1b" in text:
        text = _COLOURS.sub("", text)
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)


def stamp(now: float) -> str:
    """A time, Unix seconds, as it stands in the log."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))


class Lines:
    """Makes lines of one stream of a program. ``emit`` gets each without its end; ``now`` counts seconds.

    A carriage return takes the line back, as on a terminal: of a progress bar the log gets a state every five seconds, and the
    last.
    """

    def __init__(self, emit: Callable[[str], None], now: Callable[[], float], prefix: str = "") -> None:
        self._emit = emit
        self._now = now
        self._prefix = prefix
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""  # what came since the last end of a line, MAX_LINE at most
        self._replaced = ""  # the state that a carriage return took back
        self._progress_shown = float("-inf")

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        self._take(self._decoder.decode(data))

    def end(self) -> None:
        """The stream is over."""
        self._take(self._decoder.decode(b"", final=True))
        if self._line or self._replaced:
            self._finish_line(self._line)
            self._line = ""

    def _take(self, text: str) -> None:
        *complete, rest = (self._line + text).split("\n")
        for piece in complete:
            self._finish_line(self._overwrite(piece.removesuffix("\r")))
        self._line = self._shorten(self._overwrite(rest))

    def _overwrite(self, piece: str) -> str:
        """What is left of a piece after its carriage returns; one at its end may belong to a line's end that is still to come."""
        if "\r" not in piece[:-1]:
            return piece
        ending = "\r" if piece.endswith("\r") else ""
        *replaced, last = piece[: len(piece) - len(ending)].split("\r")
        states = [state for state in replaced if state.strip()]
        if states:
            self._replaced = states[-1]
            self._show_progress()
        return last + ending

    def _show_progress(self) -> None:
        if self._now() - self._progress_shown >= PROGRESS_S:
            self._progress_shown = self._now()
            self._finish_line(self._replaced)

    def _finish_line(self, line: str) -> None:
        line = line.removesuffix("\r")
        if not line.strip() and self._replaced:
            line = self._replaced
        self._replaced = ""
        self._say(self._shorten(line))

    def _shorten(self, line: str) -> str:
        """What is left of a line when all but its last part was said."""
        while len(line) > MAX_LINE:
            self._say(line[:MAX_LINE])
            line = line[MAX_LINE:]
        return line

    def _say(self, line: str) -> None:
        line = harmless(line)
        if self._prefix:
            self._emit(f"{self._prefix} {line}")
        else:
            self._emit(" " + line if line.startswith(PREFIXES) else line)
