"""The line to the storage while the app runs: the log's copy, the heartbeat, the request to stop.

A thread of its own, since the storage may hang for minutes and the app must not notice.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import Callable

from cumulus_runner.folder import JobFolder, is_full
from cumulus_runner.lease import Lease
from cumulus_runner.room import Room

PAUSES_S = (0.02, 0.2)  # between two copies of a growing log: its first lines are waited for, an endless one is not
LOOK_S = 1.0
HEARTBEAT_S = 15.0
AWAY_S = 10.0  # a storage that has not answered for so long is away
CHUNK = 1024 * 1024
AWAY_LIMIT_S = 600.0  # a storage that does not answer at the end, and one that does not even take the result
FULL_LIMIT_S = 30.0  # the log's end, where no longer wait is allowed
STOPPED_LIMIT_S = 3.0
RETRY_S = 1.0


class StorageLink(threading.Thread):
    """Copies the log at ``log`` into the folder, from the end of what an earlier attempt left there.

    ``stop`` is called once, with the reason where it is not the controller's wish. ``room``: the storage's, for the log.
    """

    def __init__(
        self, folder: JobFolder, log: str, lease: Lease, room: Room, stop: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        super().__init__(name="storage", daemon=True)
        self._folder = folder
        self._log = log
        self._lease = lease
        self._room = room
        self._ask: Callable[[str], None] | None = stop  # Thread has a _stop of its own
        self._now = now
        self._news = threading.Event()
        self._ending = threading.Event()
        self._start: int | None = None  # where this attempt begins in the storage's log
        self._copied = 0
        self._introduced = False
        self._next_beat = 0.0
        self._answered = time.monotonic()
        self.complete = False

    def tell(self) -> None:
        """The log has grown by something that somebody waits for; all else is copied within a second."""
        self._news.set()

    def run(self) -> None:
        """Work until :meth:`end`.

        Nothing is done before the app's first line, or a second: on a slow machine the app would start later for it.
        """
        pause_s, longest_s = PAUSES_S
        next_look = time.monotonic() + LOOK_S
        while not self._ending.is_set():
            self._news.wait(max(0.0, next_look - time.monotonic()))
            self._news.clear()
            self._try(self._copy)
            if time.monotonic() >= next_look:
                if not self._try(self._introduce, self._beat, self._look):
                    self._answered = time.monotonic()
                self._check_lease()
                next_look = time.monotonic() + LOOK_S
            self._ending.wait(pause_s)
            pause_s = min(2 * pause_s, longest_s)
        self._try(self._introduce, self._beat)
        self._copy_rest()

    def is_away(self) -> bool:
        """Whether the storage does not answer: programs that read from it have to wait, and are not to blame."""
        return time.monotonic() - self._answered > AWAY_S

    def end(self) -> bool:
        """Copy what is left and return when it is there; False where the storage would not take it all."""
        self._ending.set()
        self._news.set()
        self.join()
        return self.complete

    def _try(self, *works: Callable[[], None]) -> OSError | None:
        """A storage that is away for a while is nothing to fail for."""
        failures = [failure for work in works if (failure := _failure(work))]
        return failures[0] if failures else None

    def _introduce(self) -> None:
        if not self._introduced:
            self._folder.introduce(os.getpid())
            self._room.close()
            self._introduced = True

    def _beat(self) -> None:
        if time.monotonic() >= self._next_beat:
            self._folder.beat(self._now())
            self._next_beat = time.monotonic() + HEARTBEAT_S

    def _look(self) -> None:
        if self._ask and self._folder.must_stop():
            self._ask("")
            self._ask = None

    def _check_lease(self) -> None:
        if self._ask and self._lease.is_over():
            self._ask("the machine's lease is over: the controller has not been heard of for too long")
            self._ask = None

    def await_storage(self, problem: OSError, since: float, full_limit_s: float = AWAY_LIMIT_S) -> bool:
        """Wait a moment for a storage that does not take what the run leaves; False once it has been waited for long enough.

        ``since``: when that began, by the monotonic clock. Heartbeats and the controller's wishes pass meanwhile.
        """
        limit_s = AWAY_LIMIT_S
        if is_full(problem):
            limit_s = full_limit_s if self._room.left_s() <= 0 else float("inf")
        if time.monotonic() - since > (STOPPED_LIMIT_S if self._room.is_stopped else limit_s):
            return False
        time.sleep(RETRY_S)
        self._room.look_again()
        self._try(self._introduce, self._beat, self._look)
        self._check_lease()
        return True

    def _copy(self) -> None:
        self._copy_while(self._room.is_for_log)

    def _copy_while(self, has_room: Callable[[int], bool]) -> None:
        """Bring the copy up to date, as far as there is room. Closed each time, which is what sends it over NFS."""
        if os.path.getsize(self._log) == self._copied:
            return
        copied = self._copied
        with open(self._log, "rb", buffering=0) as source, open(self._folder.private("log"), "r+b", opener=_create) as target:
            start = self._beginning(target.fileno())
            while (chunk := os.pread(source.fileno(), CHUNK, copied)) and has_room(len(chunk)):
                copied += os.pwrite(target.fileno(), chunk, start + copied)
        self._copied = copied  # whether there was room for it, NFS says when the file is closed

    def _beginning(self, handle: int) -> int:
        """Where this attempt's log begins in the storage: behind an earlier one's last line, however it broke off."""
        if self._start is None:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                size += os.pwrite(handle, b"\n", size)
            self._start = size
        return self._start

    def _copy_rest(self) -> None:
        begin = time.monotonic()
        while failure := self._try(self._copy_end):
            if not self.await_storage(failure, begin, FULL_LIMIT_S):
                return
        self._room.over()
        self.complete = self._try(self._copy_end) is None  # that it is over is a line of the log, too

    def _copy_end(self) -> None:
        self._copy_while(self._room.fits)
        if self._copied < os.path.getsize(self._log):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o644)


def _failure(work: Callable[[], None]) -> OSError | None:
    try:
        work()
    except OSError as problem:
        return problem
    return None
