"""Opening what is sent: from a root down, name by name, with no link followed, so that no link can be swapped in meanwhile.

What has been opened stays what it is, whatever happens to its path: rsync is handed the descriptors (``agent.sending.staging``).
Linux alone can do this; elsewhere ``agent.sources.survey`` looks at paths, before and after.
"""

import errno
import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import AgentError
from agent.sources.entries import Entry
from agent.sources.skipping import is_skipped

LOWEST = 256  # descriptors below are left to rsync, whose select() knows no number above 1023
SPARE = 512  # descriptors that the agent itself may need
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooManyFiles(AgentError):
    """A source has more files than this process may have open."""

    code = "too_many_files"


@dataclass
class Held:
    """A source of which every file is open. ``folders``: path and time of each; ``files``: path, descriptor and what it was."""

    folders: list[tuple[str, int]] = field(default_factory=list)
    files: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)

    def close(self) -> None:
        """Let go of all."""
        for _, descriptor, _ in self.files:
            os.close(descriptor)
        self.files = []

    def is_unchanged(self) -> bool:
        """Whether the very files that were opened have not been written since."""
        return all(_state(os.fstat(descriptor)) == state for _, descriptor, state in self.files)

    def add(self, entry: Entry) -> None:
        """Open one more. Raises OSError where it is a link by now, TooManyFiles."""
        if entry.is_folder:
            self.folders.append((entry.path, entry.status.st_mtime_ns))
            return
        _allow(self.files[-1][1] if self.files else LOWEST)
        low = os.open(entry.name, _PATH, dir_fd=entry.folder)
        try:
            found = os.fstat(low)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), entry.path)  # a link by now
            high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, LOWEST)
        finally:
            os.close(low)
        self.files.append((entry.path, high, _state(found)))


def walk(top: Path, real: Path, name: str) -> Iterator[Entry]:
    """A source below a root and all in it, folders before what is in them, each opened or looked at without following a link.

    ``real`` lies below ``top``, with no link in between; ``name``: what the source is called. A descriptor is valid until the
    next item. Raises OSError, for a link in the way, too.
    """
    *way, last = real.relative_to(top).parts
    folder = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in way:
            inner = os.open(part, _PATH | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        found = os.stat(last, dir_fd=folder, follow_symlinks=False)
        yield Entry(name, found, last, folder)
        if stat.S_ISDIR(found.st_mode):
            yield from _inside(folder, last, name)
    finally:
        os.close(folder)


def _inside(parent: int, name: str, path: str) -> Iterator[Entry]:
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        for inner, status in sorted(found, key=lambda one: one[0]):
            below = f"{path}/{inner}"
            left_out = is_skipped(inner, status.st_mode)
            yield Entry(below, status, inner, folder, left_out)
            if stat.S_ISDIR(status.st_mode) and not left_out:
                yield from _inside(folder, inner, below)
    finally:
        os.close(folder)


def _state(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _allow(highest: int) -> None:
    """Have the system let this process open more, if a descriptor of that number was given out. Raises TooManyFiles."""
    needed = highest + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    wanted = 2 * needed if hard == resource.RLIM_INFINITY else min(2 * needed, hard)
    if wanted < needed:
        raise TooManyFiles(f"it has more files than the agent may open at once (its limit is {hard}: LimitNOFILE of its service)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
