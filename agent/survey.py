"""Looking at a source before and after it is sent: what is in it, whether it can be read, whether somebody still writes it.

By polling, not by notifications of the system: those say nothing of network shares, where instruments write.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AgentError
from agent.paths import Root

NS = 1_000_000_000
WRITING = os.O_WRONLY | os.O_RDWR


class SourceUnusable(AgentError):
    """A source that cannot be sent, and will not become so by waiting."""

    code = "source_unusable"


class SourceAway(AgentError):
    """The root that a source lies below cannot be reached now, as a network share while its server restarts."""

    code = "source_away"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source. ``path`` begins with the source's own name; ``modified_ns``: Unix time."""

    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Snapshot:
    """A source as it was at one moment."""

    is_folder: bool
    files: tuple[SourceFile, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def newest(self) -> float:
        """When the last of them was written, Unix seconds."""
        return max((file.modified_ns for file in self.files), default=0) / NS

    @property
    def fingerprint(self) -> str:
        """The same for two snapshots if nothing has changed between them."""
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files:
            digest.update(f"{file.size} {file.modified_ns} {file.path}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True)
class Stillness:
    """Whether a source is complete; if not, why, and since when it has not changed (Unix seconds)."""

    is_still: bool
    since: float
    why: str = ""


def take(source: str, roots: Iterable[Root]) -> Snapshot:
    """Look at a source, however deep. Raises SourceUnusable, SourceAway."""
    path = Path(source)
    try:
        _require_inside(path, tuple(roots))
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            return Snapshot(True, tuple(sorted(_files(source, path.name), key=lambda file: file.path)))
        _require_regular(found, source)
        return Snapshot(False, (SourceFile(path.name, found.st_size, found.st_mtime_ns),))
    except FileNotFoundError as problem:
        raise SourceUnusable(f"{problem.filename or source} does not exist") from None
    except PermissionError as problem:
        raise SourceUnusable(f"the agent may not read {problem.filename or source}") from None
    except OSError as problem:
        raise SourceAway(f"{source} cannot be read now: {problem.strerror}") from None


def judge(snapshot: Snapshot, fingerprint: str, since: float, now: float, stable_s: float, holder: str | None) -> Stillness:
    """Whether nobody writes the source any more, from what it was at the look before (``fingerprint``, unchanged ``since``).

    A source that was last written long ago is complete at once. One that somebody holds open is not, whatever its times say.
    """
    if holder:
        return Stillness(False, now, f"it is open for writing ({holder})")
    if 0 <= snapshot.newest <= now - stable_s:
        return Stillness(True, snapshot.newest)
    if not fingerprint or snapshot.fingerprint != fingerprint or not since:
        return Stillness(stable_s == 0, now, "it was written a moment ago")
    return Stillness(now - since >= stable_s, since, "it was written a moment ago")


class Writers:
    """What programs of this computer had open for writing at one moment, as far as this user may see it."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._open = dict(_written(proc)) if sys.platform != "win32" else {}

    def of(self, source: str) -> str | None:
        """Who has the source, or a file in it, open for writing; None where nobody can be seen to."""
        if sys.platform == "win32":
            return _refuses_rename(source)
        inside = source + os.sep
        return next((who for path, who in self._open.items() if path == source or path.startswith(inside)), None)


def _require_inside(path: Path, roots: tuple[Root, ...]) -> None:
    """The path must lie below a root after all links were followed, and be no link itself."""
    if path.is_symlink():
        raise SourceUnusable(f"{path} is a link: choose the file that it leads to")
    tops = [Path(root.path) for root in roots]
    if not any(path.is_relative_to(top) and top.is_dir() for top in tops):
        top = next((top for top in tops if path.is_relative_to(top)), None)
        if top is None:
            raise SourceUnusable(f"the agent may not read {path}: it lies below none of its roots")
        raise SourceAway(f"the folder {top} cannot be reached")
    real = path.resolve(strict=True)
    if not any(real.is_relative_to(top.resolve()) for top in tops):
        raise SourceUnusable(f"the agent may not read {path}: a link leads out of its roots")


def _require_regular(found: os.stat_result, source: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise SourceUnusable(f"{source} is a link, which is not sent")
    if not stat.S_ISREG(found.st_mode):
        raise SourceUnusable(f"{source} is neither a file nor a folder")
    if not os.access(source, os.R_OK):
        raise SourceUnusable(f"the agent may not read {source}")


def _files(folder: str, prefix: str) -> Iterator[SourceFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            found, name = entry.stat(follow_symlinks=False), f"{prefix}/{entry.name}"
            if stat.S_ISDIR(found.st_mode):
                yield from _files(entry.path, name)
            else:
                _require_regular(found, entry.path)
                yield SourceFile(name, found.st_size, found.st_mtime_ns)


def _written(proc: Path) -> Iterator[tuple[str, str]]:
    """Linux: (path, process) of what the kernel tells. Links are read, the files themselves not touched."""
    own = str(os.getpid())
    for process in proc.glob("[0-9]*"):
        if process.name == own:
            continue
        with suppress(OSError):  # gone, or another user's
            for descriptor in os.scandir(process / "fd"):
                target = os.readlink(descriptor.path)  # noqa: PTH115  # thousands of them
                if (
                    target.startswith("/")
                    and not target.startswith("/dev/")
                    and _is_writing(process / "fdinfo" / descriptor.name)
                ):
                    yield target, f"process {process.name}"


def _is_writing(info: Path) -> bool:
    flags = next((line.split()[1] for line in info.read_text().splitlines() if line.startswith("flags:")), "0")
    return bool(int(flags, 8) & WRITING)


def _refuses_rename(source: str) -> str | None:
    """Windows: a file that a program has open does not let itself be renamed, not even to its own name."""
    try:
        Path(source).rename(source)
    except PermissionError:
        return "another program"
    return None
