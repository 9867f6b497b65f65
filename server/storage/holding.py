"""One controller holds a storage, and keeps it whatever becomes of the files that say so.

Two locks show it to others: on the id's file and on ``.cumulus.ledger/lock``, for either may be removed or replaced.
Inspected every second: missing files are made again; no new work starts where the storage now belongs to another installation.
A storage that is away, as one on a network may be for a while, is no loss.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from server.errors import CumulusError
from server.home.keeper import kept
from server.storage.folders import Storage
from server.storage.identity import (
    IdentityUnreadable,
    StorageInUse,
    identity_path,
    read_identity,
    set_identity_aside,
    write_identity,
)
from server.storage.ledger import lock_path

INSPECT_S = 1.0
DYING_S = 0.3  # a killed holder lets go of its files one after the other
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF, errno.EROFS, errno.EACCES)
log = structlog.get_logger()


class StorageTaken(CumulusError):
    """The storage became another installation's while a controller worked on it."""

    code = "storage_taken"


class Hold:
    """One process's hold on a storage; a killed one holds nothing. Where the file system knows no locks, the id has to do."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._handles: dict[Path, int] = {}
        self._former: list[int] = []  # stay held: somebody may have them open
        self._refusal = self._said = ""
        self._device = 0

    def take(self, *, make: bool = True) -> None:
        """Take the locks that are not held yet, also of replaced files. ``make``: the ledger's lock. Raises StorageInUse."""
        for path, flags in ((identity_path(self._root), 0), (lock_path(self._root), os.O_CREAT if make else 0)):
            if not self._holds(path):
                self._lock(path, flags)
        with suppress(OSError):
            self._device = self._root.stat().st_dev

    def close(self) -> None:
        """Hold nothing any more."""
        for handle in (*self._handles.values(), *self._former):
            os.close(handle)
        self._handles.clear()
        self._former.clear()

    def require_own(self) -> None:
        """Raises StorageTaken where the last inspection has found that the storage is no longer this installation's."""
        if self._refusal:
            raise StorageTaken(self._refusal)

    def inspect(self, own: str) -> None:
        """Find out whether the storage is still the installation's, and repair the files that say so."""
        if not Storage(self._root).is_there():
            return
        try:
            refusal = self._why_taken(own)
            if not refusal:
                self.take()
        except (CumulusError, OSError) as problem:
            refusal = problem.message if isinstance(problem, StorageInUse) else self._refusal
            if str(problem) != self._said:
                log.warning("the storage's id and locks cannot be kept", detail=str(problem))
            self._said = str(problem)
        else:
            self._said = ""
        if refusal and refusal != self._refusal:
            log.error("no more work is started in the storage", detail=refusal)
        elif self._refusal and not refusal:
            log.warning("the storage is this installation's again")
        self._refusal = refusal

    @contextmanager
    def kept(self, own: str) -> Iterator[None]:
        """Inspect it every second within the block, in a thread of its own: a storage that hangs delays nothing else."""
        with kept(lambda: self.inspect(own), INSPECT_S, "storage", end_limit_s=INSPECT_S):
            yield

    def _why_taken(self, own: str) -> str:
        """Why the storage is not ours; "" where it is, and its id says so. Raises StorageUnusable, IdentityUnreadable."""
        try:
            found = read_identity(self._root)
        except IdentityUnreadable:
            if not self._is_the_same():
                raise
            set_identity_aside(self._root)
            found = None
        if found is None:
            if not self._is_the_same():
                return f"another storage is at {self._root} than this controller began with: mount the right one again"
            found = write_identity(self._root, own)
            log.warning("the storage's id was lost; it is written again", id=found)
        if found == own:
            return ""
        return (
            f"the storage {self._root} belongs to the installation {found} by now, and this controller is {own}: stop one of the "
            f"two (`cumulus stop`), and have {identity_path(self._root)} name the one that continues"
        )

    def _is_the_same(self) -> bool:
        """Whether the storage is the one that was taken; a network's may get another number when it is mounted again."""
        return self._holds(lock_path(self._root)) or self._root.stat().st_dev == self._device

    def _holds(self, path: Path) -> bool:
        try:
            return path in self._handles and os.path.samestat(path.lstat(), os.fstat(self._handles[path]))
        except OSError:
            return False

    def _lock(self, path: Path, flags: int) -> None:
        try:
            if flags:
                Storage(self._root).ledger.prepare()
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
        except OSError:  # a storage that cannot be written says so elsewhere
            return
        try:
            _lock(handle, self._root)
        except BaseException:
            os.close(handle)
            raise
        if path in self._handles:
            self._former.append(self._handles[path])
        self._handles[path] = handle


def _lock(handle: int, root: Path) -> None:
    until = time.monotonic() + DYING_S
    while not _is_locked(handle):
        if time.monotonic() > until:
            raise StorageInUse(
                f"another controller, or a command that must be alone, works on the storage {root}: "
                "two would destroy each other's jobs. End the other one first; if it runs from a copy of this home, remove it"
            )
        time.sleep(0.02)


def _is_locked(handle: int) -> bool:
    """Whether it is ours now; also where the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        if problem.errno not in NO_LOCKS:
            raise
    return True
