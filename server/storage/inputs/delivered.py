"""What was delivered for the earlier jobs of a batch, so that a file that many of them use is read and copied once."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.storage.inputs.copying import Contents, Source

SHARED, OWN = "shared", "own"  # as what a file was delivered


@dataclass(frozen=True)
class _Known:
    state: object
    target: Path
    mark: object
    contents: Contents


@dataclass
class Delivered:
    """Sources and what they became, as long as nobody has written to either since."""

    _known: dict[tuple[str, Path], _Known] = field(default_factory=dict)

    def before(self, kind: str, source: Source) -> tuple[Path, Contents] | None:
        """Where the source lies in the storage by now, and its contents; None where that is not known."""
        known = self._known.get((kind, source.path))
        with suppress(OSError):
            if known and known.state == source.state() and known.mark == _mark(known.target):
                return known.target, known.contents
        return None

    def remember(self, kind: str, source: Source, target: Path, contents: Contents) -> None:
        """The source lies there now. Raises OSError."""
        self._known[(kind, source.path)] = _Known(source.state(), target, _mark(target), contents)

    def link(self, source: Source, target: Path) -> Contents | None:
        """Make ``target``, which is not there yet, another name of an earlier job's copy of the source; None if it cannot be."""
        before = self.before(OWN, source)
        if before is None or not before[0].is_file():
            return None
        with suppress(OSError):  # as on a file system without links
            os.link(before[0], target)
            return before[1]
        return None


def _mark(path: Path) -> object:
    """Equal as long as nobody writes there. A file that a job links to only has one name more."""
    if path.is_dir():
        return Source(path).state()
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns
