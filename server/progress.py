"""Progress of long work: what is being done, how far it is, how long it took. Owns how progress is reported, not the work.

Whoever does something long is given a ``Progress``; it neither knows nor asks whether a person, a log or a test reads it.
``Lines`` is for pipes, logs and tests; what a terminal shows is in terminal.py.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

BEAT_S = 15.0  # a log shows life that often
REFRESH_S = 0.5
END_LIMIT_S = 2.0
MB = 1 << 20
BLOCK = 512  # bytes, the unit of st_blocks
# ECMA-48, chapter 5.4 (control sequences) and 5.6 (control strings), and the escapes of two characters.
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]")

# Calls a function every so many seconds, in a thread of its own, within the block.
Repeating = Callable[[Callable[[], None], float], AbstractContextManager[None]]


class Step(Protocol):
    """One step of the work while it runs."""

    def advance(self, done: float, total: float | None = None) -> None:
        """How far it is, in the step's unit; ``total`` where it is known."""

    def note(self, text: str) -> None:
        """What it is at, in one line: a package's name, a machine's last boot message. Only the latest counts."""


class Progress(Protocol):
    """Where long work reports its progress."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def step(self, text: str, unit: str = "") -> AbstractContextManager[Step]:
        """A step that may take longer than three seconds. Reports its duration at its end, also where it fails.

        ``text`` begins with a verb ("Unpacking Debian bookworm"); ``unit`` is what ``advance`` counts ("packages", "MB").
        """


Thing = TypeVar("Thing")
# Step.advance, for who only counts.
Advance = Callable[[float, float | None], None]


def unheard(done: float, total: float | None = None) -> None:
    """An ``Advance`` where nobody watches."""


def counted(things: Sequence[Thing], advance: Advance) -> Iterator[Thing]:
    """The things, one by one; ``advance`` gets the number taken so far."""
    for number, thing in enumerate(things, 1):
        advance(number, len(things))
        yield thing


@contextmanager
def repeating(action: Callable[[], None], every_s: float = REFRESH_S) -> Iterator[None]:
    """Within the block, call ``action`` every ``every_s`` seconds in a thread of its own; an OSError of it is ignored."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s):
            with suppress(OSError):
                action()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(END_LIMIT_S)


@contextmanager
def growing(step: Step, file: Path, total: float | None = None) -> Iterator[None]:
    """Within the block, the step advances by the MB that ``file`` takes on the disk. ``total``: MB, where that is known."""

    def measure() -> None:
        step.advance(megabytes(file), total)

    with repeating(measure):
        yield
    with suppress(OSError):
        measure()


def megabytes(file: Path) -> float:
    """What a file takes on the disk, which is less than its size where it has holes. Raises OSError."""
    return file.stat().st_blocks * BLOCK / MB


@dataclass
class Counter:
    """How far a step is; what both a log and a terminal tell of it. ``began``: seconds of the clock that is passed later."""

    text: str
    unit: str
    began: float
    done: float = 0
    total: float | None = None
    latest: str = ""

    def advance(self, done: float, total: float | None = None) -> None:
        """How far it is."""
        self.done, self.total = done, total

    def note(self, text: str) -> None:
        """What it is at: the last line of the text that has something in it, without what a terminal would obey."""
        self.latest = last_line(text) or self.latest

    def count(self, *, with_unit: bool = True) -> str:
        """Such as "12 of 150 packages"; "" where nothing is counted."""
        if not self.unit or not (self.done or self.total):
            return ""
        whole = f" of {self.total:.0f}" if self.total and self.done < self.total else ""
        return f"{self.done:.0f}{whole}{f' {self.unit}' if with_unit else ''}"

    def ended(self, now: float, *, well: bool) -> str:
        """The line that stays of it."""
        if well:
            self.total = None  # what was expected does not matter any more
        counted = f" ({self.count()})" if self.count() else ""
        return f"{self.text}: {'' if well else 'given up after '}{duration(now - self.began)}{counted}"

    def at_work(self, now: float) -> str:
        """A line of a log while it runs."""
        return ", ".join(filter(None, (f"{self.text}: {duration(now - self.began)}", self.count(), self.latest)))


@dataclass
class Lines:
    """Progress as plain lines: one when a step begins, one now and then while it runs, one with its duration when it ends.

    ``patience_s``: no word of a step that ends within so many seconds.
    """

    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    repeating: Repeating = field(default=repeating)
    patience_s: float = 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        self.write(text)

    @contextmanager
    def step(self, text: str, unit: str = "") -> Iterator[Step]:
        """A step, from one line to another."""
        counter = Counter(text, unit, self.clock())
        log = _Log(self, counter)
        log.begin()
        try:
            with self.repeating(log.write_if_due, REFRESH_S):
                yield counter
        except BaseException:
            log.end(well=False)
            raise
        log.end(well=True)


@dataclass
class _Log:
    """The lines of one step. ``last``: when the last one was written; None: none was yet."""

    lines: Lines
    counter: Counter
    last: float | None = None

    def begin(self) -> None:
        if not self.lines.patience_s:
            self._write(f"{self.counter.text} …")

    def write_if_due(self) -> None:
        """Write a line where it is time for one."""
        now = self.lines.clock()
        quiet_s = BEAT_S if self.last is not None else self.lines.patience_s
        if now - (self.counter.began if self.last is None else self.last) >= quiet_s:
            self._write(self.counter.at_work(now))

    def end(self, *, well: bool) -> None:
        now = self.lines.clock()
        if self.last is not None or now - self.counter.began >= self.lines.patience_s:
            self._write(self.counter.ended(now, well=well))

    def _write(self, text: str) -> None:
        self.last = self.lines.clock()
        self.lines.write(text)


def duration(seconds: float) -> str:
    """Such as "43 s" or "3 min 5 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def plain(text: str) -> str:
    """One line of text without escape sequences and other control characters, each run of spaces as one."""
    bare = ESCAPES.sub("", text)
    return " ".join("".join(char if char.isprintable() else " " for char in bare).split())


def last_line(text: str) -> str:
    """The last line that has something to read in it, plain; "" where there is none."""
    return next(filter(None, map(plain, reversed(re.split(r"[\r\n]+", text)))), "")
