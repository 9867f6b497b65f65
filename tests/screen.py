"""As much of a terminal as our programs use: what a person sees after all that was written, at a width."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TOKENS = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x00-\x1f\x7f]|.", re.DOTALL)
HEIGHT = 24


@dataclass
class Screen:
    """Takes text and the few escapes that are allowed; anything else is an error. Rows never scroll away."""

    width: int
    rows: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    joined: set[int] = field(default_factory=set)
    cursor: bool = True

    def feed(self, text: str) -> "Screen":
        for token in TOKENS.finditer(text):
            if token[2]:
                self._obey(token[1], token[2])
            elif token[0] == "\r":
                self.column = 0
            elif token[0] == "\n":
                self._to(self.row + 1)
            elif token[0].isprintable():
                self._write(token[0])
            else:
                raise AssertionError(f"a control character: {token[0]!r}")
        return self

    def lines(self) -> list[str]:
        """What stands there; a line that the terminal itself broke at its edge is one."""
        found: list[str] = []
        for number, row in enumerate(self.rows):
            if number in self.joined and found:
                found[-1] += row
            else:
                found.append(row)
        return [line.rstrip() for line in found if line.strip()]

    def _obey(self, arguments: str, command: str) -> None:
        if command == "m":
            return
        if command == "K" and arguments == "2":
            self.rows[self.row] = ""
            self.joined.discard(self.row + 1)
        elif command == "A":
            self.row = max(0, self.row - int(arguments or 1))
        elif command in "hl" and arguments == "?25":
            self.cursor = command == "h"
        else:
            raise AssertionError(f"an escape that this terminal does not know: {arguments}{command}")

    def _write(self, char: str) -> None:
        if self.column == self.width:
            self._to(self.row + 1)
            self.column = 0
            self.joined.add(self.row)
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
        self.column += 1

    def _to(self, row: int) -> None:
        self.row = row
        while len(self.rows) <= row:
            self.rows.append("")


@dataclass(frozen=True)
class Shown:
    """What a program on a terminal wrote there, what it printed beside it (where that went into a pipe), its exit code."""

    raw: str
    screen: Screen
    piped: str
    code: int


def on_terminal(
    command: Sequence[str], width: int, environment: Mapping[str, str] | None = None, *, stdout_piped: bool = False
) -> Shown:
    """Run a program on a terminal of its own of that width, to its end."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, width, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    child = subprocess.Popen(
        command,
        stdin=slave,
        stdout=subprocess.PIPE if stdout_piped else slave,
        stderr=slave,
        env={**inherited, "TERM": "xterm-256color", **(environment or {})},
        start_new_session=True,
    )
    os.close(slave)
    written = bytearray()
    while part := _read(master):
        written += part
    os.close(master)
    piped, _ = child.communicate(timeout=60)
    raw = written.decode()
    return Shown(raw, Screen(width).feed(raw), (piped or b"").decode(), child.returncode)


def run_python(script: str, width: int, environment: Mapping[str, str] | None = None, *, stdout_piped: bool = False) -> Shown:
    """The same for a few lines of Python."""
    return on_terminal([sys.executable, "-c", script], width, environment, stdout_piped=stdout_piped)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # nobody has the other end any more
        return b""
