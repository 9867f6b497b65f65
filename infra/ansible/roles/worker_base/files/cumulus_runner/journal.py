"""The job's log on the machine's own disk. Owns its lines and what becomes of them where there is no room; link.py copies it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Callable

from cumulus_runner.lines import SERVER, STDERR, Lines, harmless, stamp
from cumulus_runner.orders import LOG_LIMIT
from cumulus_runner.room import Space

KEPT_LINES = 400  # of what the log did not take, and of what a failure's message may quote
KEPT_LETTERS = 2000  # of each


class Journal:
    """A log that any thread may write to. ``changed`` is called after each line of a program; ``now``: Unix seconds.

    ``limit``: bytes of a program's lines that it takes, since an app gone mad must not fill the laboratory's storage.
    ``reserve``: bytes of the machine's disk that a program's lines leave free, or a hundredth of it if that is less.
    """

    def __init__(
        self,
        path: str,
        changed: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
        limit: int = LOG_LIMIT,
        reserve: int = 0,
    ) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._changed = changed
        self._now = now
        self._lock = threading.Lock()
        self._limit = self._room = limit
        self._reserve = reserve
        self._space = Space(os.path.dirname(path))
        self._left_out = 0
        self._torn = False
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._pending: deque[bytes] = deque(maxlen=KEPT_LINES)  # our own lines that the disk did not take yet

    def server(self, text: str) -> None:
        """A line of the runner itself."""
        self.own(f"{SERVER} {stamp(self._now())} - {harmless(text)}")

    def own(self, line: str) -> None:
        """A line that has its prefix already; on a full disk it is kept until there is room."""
        data = _encoded(line)
        with self._lock:
            if not self._append_pending() or not self._append(data):
                self._pending.append(data)

    def program(self, line: str) -> None:
        """A line of the app."""
        data = _encoded(line)
        with self._lock:
            self._last.append(line[:KEPT_LETTERS])
            before = self._left_out
            taken = self._takes(len(data))
            self._left_out = 0 if taken else before + 1
        if before and taken:
            self.server(f"{before} lines of the app are left out here: this machine's disk was nearly full")
        elif not before and not taken and self._room:
            self.server("this machine's disk is nearly full: lines of the app are left out of the log until there is room")
        if taken:
            self._write(data)
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
        """Where the log did not take the app's last lines, add them: an end tag may stand in them."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            why = "this machine's disk is nearly full" if self._room else f"the log is full ({self._limit // 1_000_000} MB)"
            self.server(f"{why}: {max(0, left_out - len(self._last))} lines left out, the last ones follow")
            for line in list(self._last)[-min(left_out, KEPT_LINES) :]:
                self.own(line)

    def close(self) -> None:
        """No line comes any more."""
        with self._lock:
            self._append_pending()
            os.close(self._handle)
            self._handle = -1

    def _write(self, data: bytes) -> None:
        """Where that fails the line is lost; the app goes on, and fails or not by itself."""
        with self._lock:
            if self._append_pending():
                self._append(data)

    def _takes(self, size: int) -> bool:
        """Whether the log grows by a line of the app. Once it had its limit it takes no more, however short."""
        if size > self._room:
            self._room = 0
        elif self._space.take(size, self._reserve):
            self._room -= size
            return True
        return False

    def _append_pending(self) -> bool:
        """Whether nothing older is left to be written."""
        while self._pending and self._append(self._pending[0]):
            self._pending.popleft()
        return not self._pending

    def _append(self, data: bytes) -> bool:
        """Whether all of it is written; half a line is closed by the next one."""
        if self._handle < 0:
            return True
        data = b"\n" + data if self._torn else data
        try:
            written = os.write(self._handle, data)
        except OSError:
            return False
        self._torn = written < len(data)
        return not self._torn


def _encoded(line: str) -> bytes:
    return (line + "\n").encode("utf-8", "replace")
