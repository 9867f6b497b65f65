"""Giving what has arrived its name: from a folder of the upload's own to where the controller finds it.

A name in the shared data is given once: the second sender learns that it is taken, and replaces nothing, however close the
two are. rsync cannot do that, as it renames over what is there. Runs where the storage is: in the agent, in
``scripts/cumulus-receive`` (which has the same functions, a test holds that), or as the text of this file in the Python at
the other end of an ssh. So it uses Python's own library only.
"""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

PREFIX = ".upload."  # the controller removes what is called so and is old (server.storage.inputs.arrivals)
OWN = ".cumulus."
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


def there(place: Path, names: list[str]) -> list[str]:
    """Those of the names that something in a place has. Raises OSError where there is no such place, ValueError for no name."""
    for name in names:
        require_name(name)
    place.stat()
    return [name for name in names if os.path.lexists(place / os.fsdecode(name.encode()))]


def finish(folder: Path, manifest: str) -> None:
    """Write a job's manifest and then its marker: all is there. Once only; asked again, it has been done. Raises OSError."""
    marker, target = folder / ".cumulus.rsync", folder / ".cumulus.manifest"
    if marker.exists():
        return
    beside = folder / f".cumulus.manifest.{os.urandom(6).hex()}"
    try:
        with beside.open("x", encoding="ascii") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    marker.touch()
    flush(folder)


def publish(place: Path, folder: str, names: list[str], *, replace: bool) -> list[str]:
    """Move names from the folder of an upload in ``place`` into ``place`` itself, and remove that folder with all that is left.

    ``replace``: what has such a name may go. Returns the names that were taken by something else, which is untouched.
    Raises OSError, ValueError for what is no name.
    """
    for name in names:
        require_name(name)
    from shutil import rmtree  # not where cumulus-receive becomes rsync, which would begin later
    from time import sleep

    taken = []
    for name in names:
        plain = os.fsdecode(name.encode())  # UTF-8, whatever the locale is
        if not move(place / folder / plain, place / plain, place / folder, replace=replace):
            taken.append(name)
    for _ in range(20):  # an rsync that was ended may be putting away what it had for a moment
        rmtree(place / folder, ignore_errors=True)
        if not os.path.lexists(place / folder):
            break
        sleep(0.05)
    flush(place)
    return taken


def require_name(name: str) -> None:
    """Raise ValueError for what no input is called."""
    name.encode()
    if not name or "/" in name or "\0" in name or name in (".", "..") or name.startswith((PREFIX, OWN)):
        raise ValueError("this is no name of an input")


def move(source: Path, target: Path, upload: Path, *, replace: bool) -> bool:
    """Give one file or folder its name; False where that is taken."""
    if source.is_symlink():
        raise ValueError("a link is no input")
    if replace:
        with suppress(FileNotFoundError):
            target.rename(upload / f".former.{os.urandom(6).hex()}")
    elif os.path.lexists(target):
        return False
    try:
        if source.is_dir():
            source.rename(target)  # never over a file, nor over a folder that has something in it
        else:
            link(source, target)
    except OSError as problem:
        if problem.errno not in TAKEN:
            raise
        return False
    return True


def link(source: Path, target: Path) -> None:
    """A second name for a file. Raises FileExistsError where something has it."""
    try:
        target.hardlink_to(source)
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # the name is ours from here on
        source.replace(target)


def flush(folder: Path) -> None:
    """Have a folder's names written to the disk; not on Windows, which cannot."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
