"""The job's log on the machine's own disk. Owns its lines and what becomes of them where there is no room; link.py copies it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Callable

from cumulus_runner.lines import SERVER, STDERR, Lines, harmless

MAX_BYTES = 512 * 1024 * 1024  # of a program's lines; an app gone mad must not fill the laboratory's storage
KEPT_LINES = 400  # of what came after that, and of what a failure's message may quote


class Journal:
    """A log that any thread may write to. ``changed`` is called after each line of a program; ``now``: Unix seconds."""

    def __init__(self, path: str, changed: Callable[[], None] = lambda: None, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._changed = changed
        self._now = now
        self._lock = threading.Lock()
        self._room = MAX_BYTES
        self._left_out = 0
        self._torn = False
        self._last: deque[str] = deque(maxlen=KEPT_LINES)

    def server(self, text: str) -> None:
        """A line of the runner itself."""
        self._write(f"{SERVER} {stamp(self._now())} - {harmless(text)}\n")

    def own(self, line: str) -> None:
        """A line that has its prefix already."""
        self._write(line + "\n")

    def program(self, line: str) -> None:
        """A line of the app."""
        with self._lock:
            self._last.append(line[:2000])
            if self._room <= 0:
                self._left_out += 1
                return
            self._room -= len(line) + 1
        self._write(line + "\n")
        self._changed()

    def stream(self, name: str = "") -> Lines:
        """What makes lines of a program's output; ``name`` is the prefix of each."""
        return Lines(self.program, time.monotonic, name)

    def last_lines(self, count: int) -> list[str]:
        """The last lines of the app that say something, errors first."""
        with self._lock:
            lines = [line for line in self._last if line.strip() and line.strip() != STDERR]
        errors = [line[len(STDERR) :].strip() for line in lines if line.startswith(STDERR)]
        return (errors or [line.strip() for line in lines])[-count:]

    def forget_last_lines(self) -> None:
        """A program begins: what an earlier one said last is not its word."""
        with self._lock:
            self._last.clear()

    def finish_program(self) -> None:
        """Where the app wrote more than the log takes, add its last lines, in which an end tag may stand."""
        if self._left_out:
            self.server(f"the log is full: {max(0, self._left_out - len(self._last))} lines left out, the last ones follow")
            for line in list(self._last)[-min(self._left_out, KEPT_LINES) :]:
                self.own(line)

    def close(self) -> None:
        """No line comes any more."""
        with self._lock:
            os.close(self._handle)
            self._handle = -1

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with self._lock:
            if self._handle >= 0:
                self._append(data)

    def _append(self, data: bytes) -> None:
        """On a full disk the line is lost; the app goes on, and fails or not by itself."""
        data = b"\n" + data if self._torn else data
        try:
            written = os.write(self._handle, data)
        except OSError:
            return
        self._torn = written < len(data)


def stamp(now: float) -> str:
    """The time as it stands in the log."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
