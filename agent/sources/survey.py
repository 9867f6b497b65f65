"""Looking at a source before and after it is sent: what is in it, whether it can be read, whether it is still being written.

By polling, not by notifications of the system: those say nothing of network shares, where instruments write.
"""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AgentError
from agent.sources.entries import Entry
from agent.sources.paths import Root, printable
from agent.sources.skipping import is_skipped, is_unfinished
from agent.sources.spelling import spelled

NS = 1_000_000_000
LOG_FACTOR = 6  # so much longer must a folder be left alone that has a write-ahead log with something in it
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
    """A source as it was at one moment.

    ``skipped``: paths in it that are left out; ``logs``: those of them that show a program at work; ``real``: its path with
    no link in it, spelled as the file system has it.
    """

    is_folder: bool
    files: tuple[SourceFile, ...]
    skipped: tuple[str, ...] = ()
    logs: tuple[SourceFile, ...] = ()
    real: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def newest(self) -> float:
        """When the last of them was written, Unix seconds."""
        return max((file.modified_ns for file in (*self.files, *self.logs)), default=0) / NS

    @property
    def fingerprint(self) -> str:
        """The same for two snapshots if nothing has changed between them."""
        digest = hashlib.blake2b(digest_size=16)
        for file in (*self.files, *self.logs):
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
    if sys.platform == "linux":
        from agent.sources.opening import walk  # not on Windows, whose Python lacks what it needs

        return examine(source, roots, walk)
    return examine(source, roots, _by_path)


def examine(source: str, roots: Iterable[Root], list_entries: Callable[[Path, Path, str], Iterator[Entry]]) -> Snapshot:
    """A source as ``list_entries`` (root, path without links below it, name) finds it. Raises SourceUnusable, SourceAway."""
    try:
        top, real = _place(Path(source), tuple(roots))
        entries = []
        for entry in list_entries(top, real, Path(source).name):
            _require_usable(entry, real.parent)
            entries.append(entry)
        return _snapshot(entries, str(real))
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise SourceUnusable(f"{_named(problem, source)} does not exist") from None
    except PermissionError as problem:
        raise SourceUnusable(f"the agent may not read {_named(problem, source)}") from None
    except AgentError as problem:
        raise (
            problem if isinstance(problem, SourceUnusable | SourceAway) else SourceUnusable(f"{printable(source)}: {problem}")
        ) from None
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise SourceUnusable(f"{printable(source)} was exchanged for a link while it was looked at") from None
        raise SourceAway(f"{printable(source)} cannot be read now: {problem.strerror}") from None


def judge(snapshot: Snapshot, fingerprint: str, since: float, now: float, stable_s: float, holder: str | None) -> Stillness:
    """Whether the source is no longer being written, from what it was at the look before (``fingerprint``, unchanged ``since``).

    A source that was last written long ago is complete at once. One that a program holds open is not, whatever its times say.
    """
    if holder:
        return Stillness(False, now, f"it is open for writing ({holder})")
    if snapshot.logs:
        stable_s *= LOG_FACTOR
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
        """Who has the source, or a file in it, open for writing; None where no program is seen to."""
        if sys.platform == "win32":
            return _refuses_rename(source)
        inside = source + os.sep
        return next((who for path, who in self._open.items() if path == source or path.startswith(inside)), None)


def _place(path: Path, roots: tuple[Root, ...]) -> tuple[Path, Path]:
    """The root that a path lies below after all links were followed, and the path without them. It must be no link itself."""
    tops = [Path(root.path) for root in roots]
    top = next((top for top in tops if path.is_relative_to(top) and top.is_dir()), None)
    if top is None:
        if away := next((top for top in tops if path.is_relative_to(top)), None):
            raise SourceAway(f"the folder {away} cannot be reached")
        raise SourceUnusable(f"the agent may not read {path}: it lies below none of its roots")
    found = spelled(top, path.relative_to(top).parts)
    if found.is_symlink():
        raise SourceUnusable(f"{path} is a link: choose the file that it leads to")
    real = found.parent.resolve(strict=True) / found.name
    for root in tops:
        if real.is_relative_to(resolved := root.resolve()) and real != resolved:
            return resolved, real
    raise SourceUnusable(f"the agent may not read {path}: a link leads out of its roots")


def _snapshot(entries: list[Entry], real: str) -> Snapshot:
    files = [_file(entry) for entry in entries if not (entry.is_skipped or entry.is_folder)]
    skipped = [entry for entry in entries if entry.is_skipped]
    return Snapshot(
        entries[0].is_folder,
        tuple(sorted(files, key=lambda file: file.path)),
        tuple(sorted(entry.path for entry in skipped)),
        tuple(_file(entry) for entry in skipped if is_unfinished(entry.path, entry.status.st_size)),
        real,
    )


def _file(entry: Entry) -> SourceFile:
    return SourceFile(entry.path, entry.status.st_size, entry.status.st_mtime_ns)


def _require_usable(entry: Entry, parent: Path) -> None:
    if entry.is_skipped or entry.is_folder:
        return
    path = printable(parent / entry.path)
    if stat.S_ISLNK(entry.status.st_mode):
        raise SourceUnusable(f"{path} is a link, which is not sent")
    if not stat.S_ISREG(entry.status.st_mode):
        raise SourceUnusable(f"{path} is neither a file nor a folder")
    if not os.access(entry.name, os.R_OK, dir_fd=entry.folder):
        raise SourceUnusable(f"the agent may not read {path}")


def _named(problem: OSError, source: str) -> str:
    """The path that an error is about; one that was reached from a descriptor has its last name only."""
    return printable(problem.filename if isinstance(problem.filename, str) and Path(problem.filename).is_absolute() else source)


def _by_path(top: Path, real: Path, name: str) -> Iterator[Entry]:  # noqa: ARG001  # as agent.sources.opening.walk
    """Where nothing can be opened in such a way: links are looked for, and one that is put there a moment later is not seen."""
    found = real.lstat()
    yield Entry(name, found, str(real))
    if stat.S_ISDIR(found.st_mode):
        yield from _inside(str(real), name)


def _inside(folder: str, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            found, path = entry.stat(follow_symlinks=False), f"{prefix}/{entry.name}"
            left_out = is_skipped(entry.name, found.st_mode)
            yield Entry(path, found, entry.path, is_skipped=left_out)
            if stat.S_ISDIR(found.st_mode) and not left_out:
                yield from _inside(entry.path, path)


def _written(proc: Path) -> Iterator[tuple[str, str]]:
    """Linux: (path, process) as the kernel lists them. Links are read, the files themselves not touched."""
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
