"""Progress of long work: what is being done, how far it is, how long it took. Owns how it is told, not the work.

Whoever does something long is given a ``Progress``; it neither knows nor asks whether a person, a log or a test reads it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


class Step(Protocol):
    """One step of the work while it runs."""

    def advance(self, done: float, total: float | None = None) -> None:
        """How far it is, in the step's unit; ``total`` where it is known."""

    def note(self, text: str) -> None:
        """What it is at, in one line: a package's name, a machine's last boot message. Only the latest counts."""


class Progress(Protocol):
    """Where the progress of long work is told."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def step(self, text: str, unit: str = "") -> AbstractContextManager[Step]:
        """A step that may take longer than three seconds. Tells its duration at its end, also where it fails.

        ``text`` begins with a verb ("Unpacking Debian bookworm"); ``unit`` is what ``advance`` counts ("packages", "MB").
        """


@dataclass
class Lines:
    """Progress as plain lines: one when a step begins, one with its duration when it ends."""

    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def say(self, text: str) -> None:
        """A line that stays."""
        self.write(text)

    @contextmanager
    def step(self, text: str, unit: str = "") -> Iterator[Step]:
        """A step, from one line to another."""
        began = self.clock()
        self.write(f"{text} …")
        counter = _Counter(unit)
        try:
            yield counter
        except BaseException:
            self.write(f"{text}: given up after {self.clock() - began:.0f} s{counter.told()}")
            raise
        self.write(f"{text}: {self.clock() - began:.0f} s{counter.told()}")


@dataclass
class _Counter:
    unit: str
    done: float = 0
    text: str = ""

    def advance(self, done: float, total: float | None = None) -> None:  # noqa: ARG002  # plain lines tell what is done only
        self.done = done

    def note(self, text: str) -> None:
        self.text = text

    def told(self) -> str:
        return f" ({self.done:.0f} {self.unit})" if self.done and self.unit else ""
