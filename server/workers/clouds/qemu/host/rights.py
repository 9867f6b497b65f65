"""What the NFS server's user may do with the storage: all in the folders of jobs that run, and read what their plans name.

Files stay their owners': a link in a job's folder may be another name of a file that many use. What is closed to others and to
its group may be read by the server's own group, which nobody else belongs to; what its owner shares with a group is left as it
is. Others may write in the storage while this is done, so no link is followed, and nothing is named twice.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

READ, ENTER = 0o4, 0o1
GROUP = 0o070
OWN, PLAN, HALF_WRITTEN = ".cumulus.", ".cumulus.plan", ".new"


def admit_worker(folder: Path, data: Path, user: int) -> None:
    """Let the runner on a worker do its work in a job's folder, and read the input that the folder's plan names.

    Raises OSError where the folder is gone or cannot be given.
    """
    with _entry(folder) as job, os.scandir(f"/proc/self/fd/{job}") as entries:
        os.chown(".", user, user, dir_fd=job)
        for entry in entries:
            with suppress(FileNotFoundError):  # the controller writes its files beside and renames them
                if _is_the_runners(entry):
                    os.chown(entry.name, user, user, dir_fd=job, follow_symlinks=False)
    _admit_all(folder, "input", user)
    for name in _shared_inputs(folder):
        with suppress(OSError):  # the runner reports what is missing or cannot be had
            _admit_all(data, name, user)


def _is_the_runners(entry: "os.DirEntry[str]") -> bool:
    """A folder, or a file of a former attempt that it writes to again. Raises FileNotFoundError where it has gone."""
    if entry.name.endswith(HALF_WRITTEN):
        return False
    own = entry.name.startswith(OWN) and entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_nlink == 1
    return own or entry.is_dir(follow_symlinks=False)


def wants_internet(folder: Path) -> bool:
    """Whether the plan in a job's folder says that its app may use the internet."""
    return _plan(folder).get("internet") is True


def closed_to(folder: Path, user: int) -> str:
    """Why that user cannot be let into a folder, with the remedy; "" where it can, or the folder will be made."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if _may(found, user, READ | ENTER) or not _is_shared(found, user):
        return ""
    return f"workers may not read {folder}, which its owner shares with a group: chmod o+rx {folder}"


def admit_top(folder: Path, user: int) -> None:
    """Let that user look into a folder, whatever is in it."""
    with _entry(folder) as opened:
        _admit(opened, user)


def _admit_all(top: Path, name: str, user: int) -> None:
    """Let the user read a file or folder below ``top``, with all in it, and come there."""
    parts = PurePosixPath(name).parts
    with _entry(top) as opened:
        place = os.dup(opened)
        try:
            for part in parts:
                with _entry(part, place) as inner:
                    _admit(inner, user)
                    os.dup2(inner, place, inheritable=False)
            if stat.S_ISDIR(os.fstat(place).st_mode):
                _admit_below(place, user)
        finally:
            os.close(place)


def _admit_below(place: int, user: int) -> None:
    for _, folders, files, inside in os.fwalk(f"/proc/self/fd/{place}/.", follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(FileNotFoundError), _entry(name, inside) as opened:
                _admit(opened, user)


def _admit(opened: int, user: int) -> None:
    found = os.fstat(opened)
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        return
    needed = READ | (ENTER if stat.S_ISDIR(found.st_mode) else 0)
    if _may(found, user, needed) or _is_shared(found, user):
        return
    path = Path(f"/proc/self/fd/{opened}")  # the file itself, whatever has its name by now
    os.chown(path, -1, user)
    path.chmod(stat.S_IMODE(found.st_mode) | needed << 3)


def _may(found: os.stat_result, user: int, needed: int) -> bool:
    return found.st_mode >> (6 if found.st_uid == user else 3 if found.st_gid == user else 0) & needed == needed


def _is_shared(found: os.stat_result, user: int) -> bool:
    """Whether its owner has opened it to a group of his."""
    return bool(found.st_mode & GROUP) and found.st_gid != user


@contextmanager
def _entry(name: Path | str, folder: int | None = None) -> Iterator[int]:
    """A handle on a file or folder that opens nothing and is no link's. Raises OSError."""
    opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield opened
    finally:
        os.close(opened)


def _shared_inputs(folder: Path) -> list[str]:
    """Names below the data folder that the plan gives to the runner."""
    with suppress(KeyError, TypeError):
        return [str(one["name"]) for one in _plan(folder)["inputs"] if one["shared"]]
    return []


def _plan(folder: Path) -> dict[str, Any]:
    """The runner's orders; one that cannot be read is refused there."""
    with suppress(OSError, ValueError):
        if isinstance(plan := json.loads((folder / PLAN).read_text()), dict):
            return plan
    return {}
