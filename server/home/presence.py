"""What tells others on this computer that a controller runs here, kept true while it does.

A file that somebody removes, or a restored backup replaces, would let a second controller manage the same machines, or a command
believe that none runs. So the controller looks every few seconds, and puts right what is not as it should be.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import structlog

from server.errors import CumulusError
from server.home.files import OWNER_ONLY, in_the_way, open_anew, put_in_place, set_aside
from server.home.installation import (
    LOCK_FILE,
    announce,
    read_id,
    remember_id,
    restore_id,
    running_controller,
    sign,
    try_lock,
    withdraw,
)

LOOK_S = 2.0
log = structlog.get_logger()


@contextmanager
def announced(home: Path, url: str, lock: IO[bytes] | None = None, known_id: str = "") -> Iterator[None]:
    """Within the block, others find this process: where it answers, that it holds the installation, and its id.

    ``lock``: the installation's, open and held; ``known_id``: "" where there is none to be kept.
    """
    announce(home, url)
    over = threading.Event()
    keeper = _Keeper(home, url, lock, known_id)
    thread = threading.Thread(target=keeper.run, args=(over,), name="presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        withdraw(home)


class _Keeper:
    """Looks at the files, and puts them right; what cannot be put right is said once until it changes."""

    def __init__(self, home: Path, url: str, lock: IO[bytes] | None, known_id: str) -> None:
        self._home = home
        self._url = url
        self._locks = [lock] if lock else []  # a former one stays held: somebody may have it open
        self._known_id = known_id
        self._said: dict[str, str] = {}

    def run(self, over: threading.Event) -> None:
        """Until it is over."""
        self._apart(self._keep_id)
        while not over.wait(LOOK_S):
            for look in (self._keep_lock, self._keep_address, self._keep_id):
                self._apart(look)

    def _apart(self, look: Callable[[], None]) -> None:
        try:
            look()
        except (CumulusError, OSError) as problem:
            text = problem.message if isinstance(problem, CumulusError) else str(problem)
            if self._said.get(look.__name__) != text:
                log.warning("the home folder is not as it should be, and cannot be put right", detail=text)
            self._said[look.__name__] = text
        else:
            self._said.pop(look.__name__, None)

    def _keep_address(self) -> None:
        found = running_controller(self._home)
        if found is None or (found.pid, found.url) != (os.getpid(), self._url):
            announce(self._home, self._url)
            log.warning("where this controller answers was not told any more; it is told again", file="controller.json")

    def _keep_id(self) -> None:
        if not self._known_id:
            return
        remember_id(self._home, self._known_id)
        if read_id(self._home) != self._known_id:
            restore_id(self._home, self._known_id)
            log.warning("the installation's id was not in its file any more; it is written again", id=self._known_id)

    def _keep_lock(self) -> None:
        """Another file under the lock's name is held before it gets the name, so that nobody is let in between."""
        if not self._locks or self._is_ours():
            return
        path = self._home / LOCK_FILE
        beside = path.with_suffix(".new")
        lock = open_anew(beside, OWNER_ONLY)
        try_lock(lock)
        sign(lock)
        with suppress(FileNotFoundError):
            if not path.is_file():
                set_aside(path, "a lock's file cannot be that")
        try:
            put_in_place(beside, path)
        except OSError as problem:
            lock.close()
            raise in_the_way(problem) from problem
        self._locks.append(lock)
        log.warning("the lock of this installation was not ours any more; it is taken again", file=str(path))

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat((self._home / LOCK_FILE).stat(), os.fstat(self._locks[-1].fileno()))
        except OSError:
            return False
