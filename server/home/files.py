"""The files of the home folder, whatever a full disk, a restored backup or a person has put there instead.

Owns how one is read, written, locked and set aside. What a file says, and whether it can be made again, is known to its owner.
Only regular files are opened, and at once: a FIFO would hold up whoever opens it. What cannot be used is kept beside it, with the
date in its name, so that it can be found.
"""

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import IO

import structlog

from programs.errors import explained
from programs.regular import open_regular, read_regular
from server.errors import InfrastructureError

LIMIT = 256 << 20  # bytes; a state with thousands of resources has a hundredth of it
KEPT = 5  # of each file
ABANDONED_S = 600.0  # a file that its writer has not renamed by then is abandoned; writing takes milliseconds
SET_ASIDE = ".broken-"
LOCKS = Path("/proc/locks")
OWNER_ONLY = 0o600
_NOT_A_FILE = (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV)
log = structlog.get_logger()


class InTheWay(InfrastructureError):
    """A file of the home cannot be read, made or moved away; the message names it."""

    code = "home_file"


def open_own(path: Path) -> BufferedReader:
    """The file, also where a link leads, open for reading. Raises OSError, also for what is no file."""
    return open_regular(path, follow=True)


def read_own(path: Path, limit: int = LIMIT) -> bytes:
    """What the file holds, of ``limit`` bytes at most. Raises OSError, also for what is no file."""
    return read_regular(path, limit, follow=True)


def read_end(path: Path, size: int) -> bytes:
    """The last bytes of the file. Raises OSError, also for what is no file."""
    with open_own(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)


def read_own_text(path: Path, limit: int = LIMIT) -> str:
    """The same as text. Raises OSError, and ValueError for what is no UTF-8."""
    return read_own(path, limit).decode()


def write_own(path: Path, content: str | bytes, mode: int = OWNER_ONLY) -> None:
    """Write the file whole or not at all, in place of whatever has its name. Raises InTheWay."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        own_folder(path.parent)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        beside.chmod(mode)
        put_in_place(beside, path)
    except OSError as problem:
        raise in_the_way(problem) from problem
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
            for left in unfinished(path):
                if time.time() - left.lstat().st_mtime > ABANDONED_S:
                    left.unlink(missing_ok=True)


def unfinished(path: Path) -> list[Path]:
    """What writers that were killed have left of the file; also what one is writing at this moment."""
    try:
        return [entry for entry in path.parent.iterdir() if entry.name.startswith(f".{path.name}.") and entry.suffix == ".new"]
    except OSError:
        return []


def put_in_place(beside: Path, path: Path) -> None:
    """Give a file or link its name; a folder that has it is set aside. Raises OSError, InTheWay."""
    try:
        beside.rename(path)
    except IsADirectoryError:
        set_aside(path, "a folder has its name")
        beside.rename(path)


def remove_own(path: Path) -> None:
    """Have nothing there: a file is removed, anything else set aside. Raises InTheWay."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        set_aside(path, "a folder has its name")
    except NotADirectoryError:
        return  # nothing can be there
    except OSError as problem:
        raise in_the_way(problem) from problem


def clear(path: Path) -> None:
    """Remove whatever is there, with all in it; what cannot be removed stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


def own_folder(path: Path, mode: int = 0o755) -> None:
    """Make the folder, unless it exists; anything else of its name is set aside. Raises InTheWay.

    But a link that leads nowhere stays: the disk that it leads to may not be mounted, with all that is in the folder.
    """
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        wrong = next(one for one in (*reversed(path.parents), path) if not one.is_dir())
        if wrong.is_symlink():
            text = f"{wrong} leads to {wrong.readlink()}, which is no folder: mount what it should be, or remove the link"
            raise InTheWay(text) from None
        set_aside(wrong, "it is no folder")
        path.mkdir(mode, parents=True, exist_ok=True)
    except OSError as problem:
        raise in_the_way(problem) from problem


def open_lock(path: Path, *, seize: bool = True) -> IO[bytes]:
    """A file that can be locked, made where there is none; what is no file is set aside. Raises InTheWay.

    ``seize``: so is another user's, left by a command that was run as the wrong one, unless somebody holds its lock.
    """
    for _ in range(3):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY)
        except (FileNotFoundError, NotADirectoryError):
            own_folder(path.parent)
            continue
        except PermissionError as problem:
            if not _made_writable(path):
                if not seize or _is_locked(path):
                    raise in_the_way(problem) from problem
                set_aside(path, "it is another user's, who does not hold it")
            continue
        except OSError as problem:
            if problem.errno not in _NOT_A_FILE:
                raise in_the_way(problem) from problem
            set_aside(path, "a lock's file cannot be that")
            continue
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.fdopen(handle, "r+b", buffering=0)
        os.close(handle)
        set_aside(path, "a lock's file cannot be that")
    raise InTheWay(f"{path} cannot be opened: move away what has this name")


def open_log(path: Path) -> IO[bytes]:
    """A file to append to; what is no file, or cannot be written, is set aside. Raises InTheWay."""
    for _ in range(2):
        try:
            own_folder(path.parent)
            handle = os.open(
                path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY
            )
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) or not os.path.lexists(path):
                raise in_the_way(problem) from problem
        else:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.fdopen(handle, "ab", buffering=0)
            os.close(handle)
        set_aside(path, "nothing can be written there")
    raise InTheWay(f"{path} cannot be opened: move away what has this name")


def open_anew(path: Path, mode: int = 0o644) -> IO[bytes]:
    """An empty file of ours to write and read, in place of whatever has its name. Raises InTheWay."""
    remove_own(path)
    try:
        own_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as problem:
        raise in_the_way(problem) from problem
    return os.fdopen(handle, "w+b", buffering=0)


def require_usable(path: Path) -> None:
    """Have a file there that can be read and written, or nothing: whoever opens it by name gets no other. Raises InTheWay.

    For what other programs than ours open: they would wait for a FIFO, or follow a link.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as problem:
        raise in_the_way(problem) from problem
    if stat.S_ISLNK(found.st_mode) and path.is_file():
        return
    if not stat.S_ISREG(found.st_mode):
        set_aside(path, "it is no file")
    elif not os.access(path, os.R_OK | os.W_OK) and not _made_writable(path):
        set_aside(path, "it cannot be read and written")


def require_writable(path: Path) -> None:
    """Where there is a file, have it readable and writable. Raises InTheWay, which names it, where it is not ours to make so."""
    if path.is_file() and not os.access(path, os.R_OK | os.W_OK) and not _made_writable(path):
        raise in_the_way(PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)))


def set_aside(path: Path, why: str, now: Callable[[], float] = time.time) -> Path | None:
    """Move what is there out of the way, into a name with the date beside it; returns where it is now.

    None where nothing is there any more. The newest five of a name are kept. ``now``: Unix seconds. Raises InTheWay.
    """
    dated = path.with_name(f"{path.name}{SET_ASIDE}{time.strftime('%Y%m%d-%H%M%S', time.localtime(now()))}")
    kept = next(
        one for one in (dated, *(dated.with_name(f"{dated.name}.{n}") for n in range(2, 1000))) if not os.path.lexists(one)
    )
    try:
        path.rename(kept)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise in_the_way(problem) from problem
    log.warning("what has a file's name cannot be used; it is set aside", file=str(path), detail=why, kept=str(kept))
    _forget_older(path)
    return kept


def is_set_aside(path: Path) -> bool:
    """Whether a file or folder is one that was set aside."""
    return SET_ASIDE in path.name


def in_the_way(problem: OSError) -> InTheWay:
    """What the system says of a file, as an error of ours."""
    return InTheWay(explained(problem))


def _forget_older(path: Path) -> None:
    kept = sorted(path.parent.glob(f"{_literal(path.name)}{SET_ASIDE}*"), key=lambda one: one.lstat().st_ctime)
    for old in kept[:-KEPT]:
        clear(old)


def _literal(name: str) -> str:
    """A name in which nothing means something to glob."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _is_locked(path: Path) -> bool:
    """Whether the kernel knows of a lock on the file; True where it cannot be asked."""
    try:
        mark = f":{path.stat().st_ino} "
        return any(mark in line for line in LOCKS.read_text().splitlines())
    except OSError:
        return True


def _made_writable(path: Path) -> bool:
    """Whether the file is ours, and we may read and write it from now on."""
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & OWNER_ONLY != OWNER_ONLY:
            path.chmod(stat.S_IMODE(found.st_mode) | OWNER_ONLY)
            log.info("a file of the home folder is made readable and writable again", file=str(path))
            return True
    return False
