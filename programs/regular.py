"""Reading files that somebody else may have put there: regular ones only, at once, and no more of them than is asked for.

Opening a FIFO blocks, a device has no end, a socket cannot be opened, a link may lead anywhere. So every file of
settings, apps, keys and notes of either program, and whatever lies in a job's folder, is opened here. What an administrator
names (settings, apps, machine sizes) may be a link to a regular file, as configuration management makes them; what a program
has written itself, or others can write, may not.
"""

import errno
import os
import stat
from io import BufferedReader, TextIOWrapper
from pathlib import Path

_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_OWN = getattr(os, "O_CLOEXEC", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link"),
)


class NotRegular(OSError):
    """The path is not a regular file."""


def open_regular(path: Path, *, follow: bool = False) -> BufferedReader:
    """The file, opened for reading at once or not at all. ``follow``: also where a link leads. Raises OSError."""
    handle = _opened(path, os.O_RDONLY, follow=follow)
    return os.fdopen(handle, "rb")


def open_to_append(path: Path, mode: int = 0o600) -> TextIOWrapper:
    """The file, made where it is not there, opened for text at its end. Raises OSError, also for a link."""
    handle = _opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
    return TextIOWrapper(os.fdopen(handle, "ab"), encoding="utf-8")


def new_file(path: Path, mode: int = 0o666) -> TextIOWrapper:
    """A new file for text; what lies there under that name, which is a program's own, is removed. Raises OSError."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _OWN, mode)
    return TextIOWrapper(os.fdopen(handle, "wb"), encoding="utf-8")


def open_to_keep(path: Path) -> int:
    """A descriptor of the file, also where a link leads, for reading. Raises OSError."""
    return _opened(path, os.O_RDONLY, follow=True)


def read_regular(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """The whole file, of ``limit`` bytes at most. Raises OSError, also where it is longer."""
    with open_regular(path, follow=follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is larger than the {limit} bytes that it may have", str(path))
    return content


def is_regular(path: Path, *, follow: bool = False) -> bool:
    """Whether a regular file lies there; False where nothing does. Raises OSError where something else does.

    ``follow``: also where a link leads, which may be to a file that is still to be made.
    """
    try:
        found = path.stat() if follow else path.lstat()
    except FileNotFoundError:
        return False
    _require_regular(found.st_mode, path)
    return True


def _opened(path: Path, flags: int, mode: int = 0o600, *, follow: bool = False) -> int:
    """A descriptor of the regular file. What it is, is looked at before it is opened, since opening a device may do something.

    Raises OSError.
    """
    try:
        _require_regular((path.stat() if follow else path.lstat()).st_mode, path)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    handle = os.open(path, flags | _AT_ONCE | _BINARY | _OWN | (0 if follow else _NO_LINK), mode)
    try:
        _require_regular(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _require_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = next((words for is_so, words in _KINDS if is_so(mode)), "something else")
        raise NotRegular(errno.EINVAL, f"is {kind}, not a regular file", str(path))
