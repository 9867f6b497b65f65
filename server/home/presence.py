"""The files by which others on this computer find a running controller, kept true while it runs.

A file that somebody removes, or a restored backup replaces, would let a second controller manage the same machines, or a command
believe that none runs. So the controller inspects them every few seconds, and repairs what is wrong.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import structlog

from server.errors import CumulusError
from server.home.controller_lock import sign, try_lock
from server.home.files import OWNER_ONLY, in_the_way, open_anew, put_in_place, set_aside
from server.home.folder import LOCK_FILE
from server.home.installation import read_id, remember_id, restore_id
from server.home.keeper import kept
from server.home.running import announce, running_controller, withdraw

INSPECT_S = 2.0
log = structlog.get_logger()


@contextmanager
def announced(home: Path, url: str, lock: IO[bytes] | None = None, known_id: str = "") -> Iterator[None]:
    """Within the block, others find this process: where it answers, that it holds the installation, and its id.

    ``lock``: the installation's, open and held; ``known_id``: "" where there is none to be kept.
    """
    announce(home, url)
    files = _Files(home, url, lock, known_id)
    try:
        with kept(files.inspect, INSPECT_S, "presence", first=files.inspect_id):
            yield
    finally:
        withdraw(home)


class _Files:
    """The files; what cannot be repaired is logged once until it changes."""

    def __init__(self, home: Path, url: str, lock: IO[bytes] | None, known_id: str) -> None:
        self._home = home
        self._url = url
        self._locks = [lock] if lock else []  # a former one stays held: somebody may have it open
        self._known_id = known_id
        self._said: dict[str, str] = {}

    def inspect_id(self) -> None:
        """Inspect the id's file alone."""
        self._apart(self._keep_id)

    def inspect(self) -> None:
        """Inspect each file, whatever is wrong with another."""
        for repair in (self._keep_lock, self._keep_address, self._keep_id):
            self._apart(repair)

    def _apart(self, repair: Callable[[], None]) -> None:
        try:
            repair()
        except (CumulusError, OSError) as problem:
            text = problem.message if isinstance(problem, CumulusError) else str(problem)
            if self._said.get(repair.__name__) != text:
                log.warning("the home folder is not as it should be, and cannot be put right", detail=text)
            self._said[repair.__name__] = text
        else:
            self._said.pop(repair.__name__, None)

    def _keep_address(self) -> None:
        found = running_controller(self._home)
        if found is None or (found.pid, found.url) != (os.getpid(), self._url):
            announce(self._home, self._url)
            log.warning("where this controller answers was lost; it is written again", file="controller.json")

    def _keep_id(self) -> None:
        if not self._known_id:
            return
        remember_id(self._home, self._known_id)
        if read_id(self._home) != self._known_id:
            restore_id(self._home, self._known_id)
            log.warning("the installation's id was lost; it is written again", id=self._known_id)

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
