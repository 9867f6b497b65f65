"""The one way by which files of this computer come into the storage, and its rules.

What ``data/`` has under a name is never replaced. A file with the same content, compared byte by byte, is shared and nothing is
copied; one with another content is put into the job's own ``input/``, and the submitter learns of it. Whatever is written is
beside its place until it is whole. At the end ``.cumulus.manifest`` says what the job uses, with SHA-256 checksums.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from programs.errors import explained
from server.errors import InvalidInput
from server.progress import MB, Advance, unheard
from server.storage.data import find, remove
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.arrivals import UPLOAD, Arrival, Sent, write_sent
from server.storage.inputs.copying import SHA256, Contents, Source, SourceChanged
from server.storage.inputs.delivered import OWN, SHARED, Delivered
from server.storage.inputs.pins import APART, LEFT_OUT
from server.storage.inputs.placing import publish, replace
from server.storage.paths import base_name

TRIES = 3  # for a source that is written meanwhile, or a name that somebody else takes meanwhile


@dataclass
class Delivery:
    """What has become of the files. ``words``: a line for each thing that the submitter should know."""

    arrivals: list[Arrival] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def deliver(
    storage: Storage,
    folder: JobFolder,
    shared: Iterable[Path],
    local: Iterable[Path] = (),
    advance: Advance = unheard,
    *,
    stored: Iterable[str] = (),
    delivered: Delivered | None = None,
) -> Delivery:
    """Bring ``shared`` files to data/ and ``local`` ones to the job's input/, then say that all is there.

    ``stored``: names of shared files that are used as the storage has them. ``advance``: in MB. ``delivered``: what was delivered
    for other jobs before. Raises InvalidInput for a file that cannot be read, is written meanwhile, or has the name of another.
    """
    return _Deliverer(storage, folder, advance, delivered or Delivered()).deliver([*shared], [*local], [*stored])


class _Deliverer:
    """One job's delivery."""

    def __init__(self, storage: Storage, folder: JobFolder, advance: Advance, delivered: Delivered) -> None:
        self._delivered = delivered
        self._storage = storage
        self._folder = folder
        self._advance = advance
        self._done = Delivery()
        self._read = 0.0
        self._total = 0.0

    def deliver(self, shared: list[Path], local: list[Path], stored: list[str]) -> Delivery:
        sources = [Source(path) for path in (*shared, *local, *(self._stored(name) for name in stored))]
        _require_own_names(source.path for source in sources)
        sizes = [source.size() / MB for source in sources]
        self._total = sum(sizes)
        steps = [*(self._share for _ in shared), *(self._keep for _ in local), *(self._use for _ in stored)]
        for number, (source, step) in enumerate(zip(sources, steps, strict=True)):
            self._attempt(source, step)
            self._read = sum(sizes[: number + 1])
            self._advance(self._read, self._total)
        self._conclude()
        return self._done

    def _conclude(self) -> None:
        done = self._done
        try:
            write_sent(self._folder, Sent(tuple(done.arrivals), tuple(done.skipped), tuple(done.stored)))
            self._folder.mark_arrived()
        except OSError as error:
            raise InvalidInput(f"the job's folder takes nothing: {explained(error)}", field="input") from None

    def _stored(self, name: str) -> Path:
        found = find(self._storage.data, base_name(name, field="input"))
        if found is None or found.is_symlink():
            raise InvalidInput(f"the storage has no shared file {name!r}", field="input")
        return found

    def _attempt(self, source: Source, step: Callable[[Source], None]) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                return step(source)
            except SourceChanged as problem:
                if not tries_left:
                    text = f"{problem.message}, each of {TRIES} times: wait until it is complete"
                    raise InvalidInput(text, field="input") from None
            except _Taken:
                if not tries_left:
                    raise InvalidInput(f"{source.path}: others send files of that name", field="input") from None
            except OSError as error:
                raise InvalidInput(f"{source.path} cannot be put into the storage: {explained(error)}", field="input") from None

    def _share(self, source: Source) -> None:
        if before := self._delivered.before(SHARED, source):
            return self._note("data", before[0].name, *before)
        name = base_name(source.path.name, field="input")
        found = find(self._storage.data, name)
        if found is None:
            contents = self._copied(source, self._storage.data, name, _publish)
            self._delivered.remember(SHARED, source, self._storage.data / name, contents)
            return self._note("data", name, self._storage.data / name, contents)
        if same := source.compare(found, self._heard):
            self._delivered.remember(SHARED, source, found, same)
            return self._note("data", found.name, found, same)
        self._keep(source)
        self._done.words.append(f"{name}: {APART}")

    def _keep(self, source: Source) -> None:
        """In the job's own input, as it is, in place of whatever is there."""
        name = base_name(source.path.name, field="input")
        target = self._folder.input / name
        contents = self._delivered.link(source, target)
        if contents is None:
            contents = source.compare(target, self._heard) or self._copied(source, self._folder.input, name, replace)
        self._delivered.remember(OWN, source, target, contents)
        self._note(f"jobs/{self._folder.name}/input", name, target, contents)

    def _use(self, source: Source) -> None:
        name = source.path.name
        before = self._delivered.before(SHARED, source)
        contents = before[1] if before else source.read(self._heard)
        self._delivered.remember(SHARED, source, source.path, contents)
        self._note("data", name, source.path, contents)
        self._done.stored.append(name)

    def _copied(self, source: Source, folder: Path, name: str, give: Callable[[Path, Path], None]) -> Contents:
        beside = folder / f"{UPLOAD}{token_hex(3)}"  # not longer for a long name; `left_over` knows what a killed process leaves
        try:
            contents = source.copy(beside, self._heard)
            give(beside, folder / name)
        finally:
            with suppress(OSError):
                remove(beside)
        return contents

    def _note(self, place: str, name: str, path: Path, contents: Contents) -> None:
        """What is there now, for the manifest."""
        for one in contents.files:
            modified_ns = (path / one.path if one.path else path).lstat().st_mtime_ns
            below = f"{name}/{one.path}" if one.path else name
            self._done.arrivals.append(Arrival(f"{place}/{below}", one.size, modified_ns, f"{SHA256}{one.sha256}"))
        for left in contents.left_out:
            self._done.skipped.append(f"{name}/{left}")
            self._done.words.append(f"{name}/{left} is left out: {LEFT_OUT}")

    def _heard(self, size: int) -> None:
        self._read += size / MB
        self._advance(min(self._read, self._total), self._total)


class _Taken(Exception):
    """Somebody else has sent a file of that name meanwhile."""


def _publish(made: Path, target: Path) -> None:
    if not publish(made, target):
        raise _Taken


def _require_own_names(paths: Iterable[Path]) -> None:
    taken: dict[str, Path] = {}
    for path in paths:
        if (other := taken.setdefault(path.name, path)) != path:
            raise InvalidInput(f"{other} and {path} have the same name: rename one of them", field="input")
