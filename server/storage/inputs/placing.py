"""Putting a file or folder that is in the storage already into another place of it, in one step for everybody else.

By a hard link, by a reflink where that is impossible, by a copy where neither works; a folder as a tree of those. Nothing here
follows a symbolic link: those are left out of trees, as are devices and pipes. What is being made is beside its place until it
is whole, so whatever is interrupted can be done again.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.storage.data import remove, set_aside
from server.storage.paths import PRIVATE_PREFIX
from server.storage.regular import open_regular

PART = f"{PRIVATE_PREFIX}part"  # what is not whole yet, beside its place
CHUNK_BYTES = 4 * 1024 * 1024
# Another file system, too many links, a file system without them, somebody else's file (fs.protected_hardlinks).
_NO_LINKS = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_FICLONE = 0x40049409  # linux/fs.h
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100
_CHECK_EVERY = 256  # files or chunks


class TakesLong(Exception):
    """There is more to do than is allowed here; nothing is lost or wrong."""


class Unwanted(Exception):
    """Nobody waits for it any more."""


@dataclass
class Allowance:
    """How much may be done before somebody else has to continue. ``unwanted`` is asked now and then."""

    files: float = float("inf")
    bytes: float = float("inf")
    unwanted: Callable[[], bool] = lambda: False
    _spent: int = field(default=0, init=False)

    def spend(self, files: int = 0, size: int = 0) -> None:
        """Take so many files to inspect, and bytes to copy, from it. Raises TakesLong, Unwanted."""
        self.files -= files
        self.bytes -= size
        if self.files < 0 or self.bytes < 0:
            raise TakesLong
        self._spent += 1
        if self._spent % _CHECK_EVERY == 0 and self.unwanted():
            raise Unwanted


@dataclass(frozen=True)
class Found:
    """A file in a folder (or alone, ``path`` ""): its path from there, what the system says of it."""

    path: str
    status: os.stat_result

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, and no link, device or pipe."""
        return stat.S_ISREG(self.status.st_mode)


def put(source: Path, folder: Path, name: str, allowance: Allowance, wanted: Collection[str] | None = None) -> None:
    """Make ``folder/name`` what ``source`` is, in place of whatever is there.

    ``wanted``: only these files of a folder (paths in it). Raises OSError, TakesLong, Unwanted.
    """
    target, beside = folder / name, folder / PART
    if is_linked(source, target, allowance, wanted):
        return
    _clear(beside)
    try:
        if stat.S_ISDIR(source.lstat().st_mode):
            _put_tree(source, beside, allowance, wanted)
        else:
            _put_file(source, beside, allowance)
    except BaseException:
        _clear(beside)
        raise
    replace(beside, target)


def replace(made: Path, target: Path) -> None:
    """Give what was made its place. A folder cannot be replaced in one step, so it is taken away before. Raises OSError."""
    former = None
    if target.is_dir() and not target.is_symlink():
        former = set_aside(target)
    elif made.is_dir():
        target.unlink(missing_ok=True)
    made.rename(target)
    if former:
        remove(former)


def publish(made: Path, target: Path) -> bool:
    """Give what was made its name, if nobody has that already; False, and nothing is changed, if somebody has. Raises OSError."""
    if not made.is_dir():
        try:
            os.link(made, target, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
        else:
            made.unlink()
            return True
    return _rename_to_free_name(made, target)


def files_in(top: Path, allowance: Allowance | None = None) -> Iterator[Found]:
    """All in a folder that is no folder, however deep, or the one file. Raises OSError, TakesLong."""
    status = top.lstat()
    if not stat.S_ISDIR(status.st_mode):
        yield Found("", status)
        return
    folders = [("", str(top))]
    while folders:
        prefix, folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if allowance:
                    allowance.spend(files=1)
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    yield Found(f"{prefix}{entry.name}", entry.stat(follow_symlinks=False))


def is_linked(source: Path, target: Path, allowance: Allowance, wanted: Collection[str] | None = None) -> bool:
    """Whether the target consists of links to the source's files, of all of them, or of those wanted. Raises TakesLong."""
    try:
        if stat.S_ISDIR(source.lstat().st_mode) != stat.S_ISDIR(target.lstat().st_mode):
            return False
        made = {one.path: _inode(one) for one in files_in(target, allowance)}
        there = {one.path: _inode(one) for one in files_in(source, allowance) if one.is_regular}
    except OSError:
        return False
    return made == {path: inode for path, inode in there.items() if wanted is None or not path or path in wanted}


def _inode(one: Found) -> tuple[int, int]:
    return one.status.st_dev, one.status.st_ino


def _put_tree(source: Path, target: Path, allowance: Allowance, wanted: Collection[str] | None) -> None:
    folders = [(source, target, "")]
    while folders:
        here, there, prefix = folders.pop()
        there.mkdir(mode=0o755)
        with os.scandir(here) as entries:
            for entry in entries:
                allowance.spend(files=1)
                path = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append((here / entry.name, there / entry.name, f"{path}/"))
                elif entry.is_file(follow_symlinks=False) and (wanted is None or path in wanted):
                    _put_file(here / entry.name, there / entry.name, allowance)


def _put_file(source: Path, target: Path, allowance: Allowance) -> None:
    allowance.spend(files=1)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _NO_LINKS:
            raise
        return _copy(source, target, allowance)
    if not stat.S_ISREG(target.lstat().st_mode):
        target.unlink()
        raise OSError(errno.EINVAL, "not a regular file", str(source))
    _write_protect(target)


def _write_protect(path: Path) -> None:
    """From here on several names lead to this content: who opens one of them for writing shall be refused."""
    with suppress(OSError):  # another user's
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & 0o222:
            path.chmod(mode & ~0o222)


def _copy(source: Path, target: Path, allowance: Allowance) -> None:
    with open_regular(source) as read, target.open("xb") as write:
        before = os.fstat(read.fileno())
        if not _is_cloned(read.fileno(), write.fileno()):
            while chunk := read.read(CHUNK_BYTES):
                allowance.spend(size=len(chunk))
                write.write(chunk)
        write.flush()
        after = os.fstat(read.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EBUSY, "it was changed while it was copied", str(source))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def _is_cloned(read: int, write: int) -> bool:
    try:
        fcntl.ioctl(write, _FICLONE, read)
    except OSError:
        return False
    return True


def _rename_to_free_name(made: Path, target: Path) -> bool:
    problem = _renameat2(made, target)
    if problem in (0, errno.EEXIST):
        return not problem
    if problem not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
        raise OSError(problem, os.strerror(problem), str(target))
    if os.path.lexists(target):  # a file system that cannot do it in one step, as NFS: the moment between is a short one
        return False
    made.rename(target)
    return True


def _renameat2(made: Path, target: Path) -> int:
    """Rename where the name is free; the error's number, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE):
        return ctypes.get_errno()
    return 0


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
