"""What is handed to rsync: a folder of our own in which every file is a link to a descriptor that was opened safely.

rsync follows these links, and so reads what was opened and nothing else, whatever stands under the files' paths meanwhile. Where
nothing can be opened so (Windows), rsync gets the sources' own folder, and what it found is looked at again afterwards.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.sources.entries import Entry
from agent.sources.paths import Root, parent
from agent.sources.survey import Snapshot, examine, take

if TYPE_CHECKING:
    from agent.sources.opening import Held

FOLDER = "staging"  # in the agent's home


@dataclass
class Source:
    """A source that is held open, if this system can, until :meth:`close`."""

    path: str
    name: str
    snapshot: Snapshot
    held: "Held | None" = None

    def close(self) -> None:
        """Let go of its files."""
        if self.held:
            self.held.close()

    def is_unchanged(self) -> bool:
        """Whether what was opened has not been written since, as far as this system can tell."""
        return self.held is None or self.held.is_unchanged()


@dataclass(frozen=True)
class Load:
    """What rsync sends: names in a folder. ``follow``: they are links to these descriptors."""

    folder: str
    names: tuple[str, ...]
    descriptors: tuple[int, ...] = ()
    follow: bool = False

    def only(self, names: Iterable[str]) -> "Load":
        """The same folder, with some of its names."""
        return replace(self, names=tuple(names))


def hold(path: str, name: str, roots: Iterable[Root]) -> Source:
    """Open a source with all its files, and survey it. Raises SourceUnusable, SourceAway."""
    if sys.platform != "linux":
        return Source(path, name, take(path, roots))
    from agent.sources.opening import Held, walk

    held = Held()

    def walk_and_hold(top: Path, real: Path, called: str) -> Iterator[Entry]:
        for entry in walk(top, real, called):
            yield entry  # which is judged first: a pipe is not opened
            if not entry.is_skipped:
                held.add(entry)

    try:
        return Source(path, name, examine(path, roots, walk_and_hold), held)
    except BaseException:
        held.close()
        raise


@contextmanager
def staged(home: Path, sources: Sequence[Source]) -> Iterator[Load]:
    """The sources, all of one folder, as rsync can send them."""
    names = tuple(source.name for source in sources)
    if any(source.held is None for source in sources):
        yield Load(parent(sources[0].path), names)
        return
    (home / FOLDER).mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(dir=home / FOLDER)
    try:
        descriptors = [number for source in sources if source.held for number in _link(folder, source.held)]
        yield Load(folder, names, tuple(descriptors), follow=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear(home: Path) -> None:
    """Remove what a killed agent has left."""
    shutil.rmtree(home / FOLDER, ignore_errors=True)


def _link(folder: str, held: "Held") -> Iterator[int]:
    for path, _ in held.folders:
        Path(folder, path).mkdir()
    for path, descriptor, _ in held.files:
        Path(folder, path).symlink_to(f"/proc/self/fd/{descriptor}")
        yield descriptor
    for path, modified_ns in reversed(held.folders):
        os.utime(f"{folder}/{path}", ns=(modified_ns, modified_ns))
