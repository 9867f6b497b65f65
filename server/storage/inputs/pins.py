"""A job's input, pinned: every file that its form names is in the job's own ``input/`` from the moment that all have arrived.

Owns ``.cumulus.pinned`` in the job's folder, which says that it is so, and what was pinned. Shared files are linked
(:mod:`server.storage.inputs.placing`), so that whatever becomes of ``data/`` later changes nothing for the job. Which results of
earlier steps come here is decided by :mod:`server.engine.workflows`.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from server.catalog.files import InputFile, one_form
from server.errors import CumulusError, InvalidInput
from server.reasons import Reason
from server.storage.data import find, remove, same_name, set_aside_before
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.arrivals import Arrival, ManifestUnreadable, Sent, left_in, read_sent
from server.storage.inputs.checksums import content_sha256
from server.storage.inputs.copying import SHA256
from server.storage.inputs.placing import PART, Allowance, files_in, is_linked, put, replace
from server.storage.paths import PRIVATE_PREFIX, base_name

VERSION = 1
MANIFEST_FILE_BYTES = 100  # of a manifest there are at least so many for each file
NAMED = 20  # in one message
SECOND_NS = 1_000_000_000
LEFT_OUT = "links are not followed, and files that SQLite keeps beside a database are not sent"
APART = "the storage has another file of that name; this job uses the one that was sent, which is kept with the job"


class InputProblem(CumulusError):
    """A job cannot begin with these files; ``reason`` says whether one is missing or not as it was sent."""

    code = "input_problem"

    def __init__(self, reason: Reason, problems: Sequence[str]) -> None:
        more = [f"and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
        super().__init__("; ".join([*problems[:NAMED], *more]))
        self.reason = reason


@dataclass(frozen=True)
class Pin:
    """One input file or folder in the job's own ``input/``, by the form's name.

    ``shared``: it is that of ``data/``; ``content``: a checksum with its algorithm, of a folder that of the files' checksums, ""
    where nobody sent any; ``seen``: what its files' sizes and times were, to notice a change.
    """

    name: str
    shared: bool
    content: str
    seen: str

    @property
    def expected(self) -> str | None:
        """The checksum that the file must have when it is read; None where only other things are known of it."""
        return self.content if self.content.startswith(SHA256) else None


@dataclass(frozen=True)
class Pinned:
    """All that a job's sender has sent, in its place. ``notes``: what the submitter has to know about it."""

    pins: tuple[Pin, ...]
    notes: tuple[str, ...] = ()

    @property
    def by_name(self) -> dict[str, Pin]:
        """The pins by the names that the form has."""
        return {pin.name: pin for pin in self.pins}


# What was sent: by whether it is shared and the name at the top in one Unicode form, by that name as it is, by the path below it.
_Listed = dict[tuple[bool, str], dict[str, dict[str, Arrival]]]


@dataclass(frozen=True)
class _Source:
    """Where a file of the form is, and what its sender listed of it: the files below it by their paths in it ("" for itself)."""

    file: InputFile
    path: Path
    shared: bool
    listed: dict[str, Arrival] | None


class Pins:
    """The pinned inputs of one storage's jobs."""

    def __init__(self, storage: Storage) -> None:
        self._data = storage.data

    def pin(self, folder: JobFolder, files: Iterable[InputFile], allowance: Allowance) -> Pinned:
        """Pin what was sent for the form's files. Safe to repeat, also after a crash at any point of it.

        Raises InputProblem, TakesLong (then nothing is decided yet), Unwanted, OSError.
        """
        if found := pinned_for(folder):
            return found
        sent = _read(folder, allowance)
        sources = self._sources(folder, [file for file in files if file.result is None], sent, allowance)
        links = [name for source in sources for name in self._put(source, folder, allowance)]
        pins = tuple(_pin(source, folder.input / source.file.name, allowance) for source in sources)
        pinned = Pinned(pins, tuple(self._notes(sources, sent, links)))
        for path in (*left_in(folder.input), *set_aside_before(folder.input), folder.input / PART):
            remove(path)
        listed = {"version": VERSION, "pins": [asdict(pin) for pin in pinned.pins], "notes": pinned.notes}
        folder.private.keep("pinned", json.dumps(listed, indent=0) + "\n")
        return pinned

    def require_unchanged(self, folder: JobFolder, pinned: Pinned) -> None:
        """Raises InputProblem where somebody has written into a pinned file since."""
        changed = [pin.name for pin in pinned.pins if not is_as_pinned(folder.input / pin.name, pin)]
        if changed:
            words = [f"{name} was changed in place after the job had taken it" for name in changed]
            raise InputProblem(Reason.INPUT_INCOMPLETE, words)

    def _sources(self, folder: JobFolder, files: Sequence[InputFile], sent: Sent | None, allowance: Allowance) -> list[_Source]:
        if sent is None:
            found = [(file, self._believed(file, folder, allowance)) for file in files]
        else:
            listed = _by_name(sent)
            found = [(file, self._find_listed(file, folder, listed)) for file in files]
        if missing := [file.name for file, source in found if source is None]:
            what = "Missing" if sent is None else "Not sent"
            raise InputProblem(Reason.INPUT_MISSING, [f"{what}: {', '.join(missing[:NAMED])}"])
        return [source for _, source in found if source is not None]

    def _believed(self, file: InputFile, folder: JobFolder, allowance: Allowance) -> _Source | None:
        """Where nobody says what was sent: what is in the job's own input, else what is in the shared data."""
        own, shared = find(folder.input, file.name), find(self._data, file.name) if file.shared else None
        if own and not (shared and is_linked(shared, own, allowance)):  # or a pin, made before a crash
            return _Source(file, own, False, None)
        return _Source(file, shared, True, None) if shared else None

    def _find_listed(self, file: InputFile, folder: JobFolder, listed: _Listed) -> _Source | None:
        for shared, place in ((False, folder.input), (True, self._data))[: 1 + file.shared]:
            if found := listed.get((shared, one_form(file.name))):
                name = file.name if file.name in found else next(iter(found))
                return _Source(file, find(place, name) or place / name, shared, found[name])
        return None

    def _put(self, source: _Source, folder: JobFolder, allowance: Allowance) -> list[str]:
        """Put it into its place; returns the links in a folder, which are left out.

        Raises InputProblem where the file is not the one that was sent.
        """
        name, listed, pinned = source.file.name, source.listed, folder.input / source.file.name
        is_there = os.path.lexists(source.path)
        if source.path.is_symlink():
            raise InputProblem(Reason.INPUT_MISSING, [f"{name} is a link in the storage, which is not followed"])
        wanted = None if listed is None else frozenset(listed)
        if source.shared and (is_there or not pinned.exists()):  # else a pin from before a crash, whose source is gone
            _require_as_sent(source, source.path, allowance)
            put(source.path, folder.input, name, allowance, wanted)
        elif not source.shared and is_there and source.path != pinned:
            replace(source.path, pinned)
        _require_as_sent(source, pinned, allowance)
        links = _links(source.path if source.shared and is_there else pinned, allowance)
        if not source.shared and pinned.is_dir():
            _prune(pinned, wanted, allowance)
        return [f"{name}/{path}" for path in links]

    def _notes(self, sources: Sequence[_Source], sent: Sent | None, links: Sequence[str]) -> Iterable[str]:
        for source in sources:
            name = source.file.name
            if source.file.shared and not source.shared and find(self._data, name):
                yield f"{name}: {APART}"
            if sent and any(same_name(name, stored) for stored in sent.stored):
                content = _content(source.listed)
                yield f"{name}: not sent, the storage's file is used{f' ({content})' if content else ''}"
        if left_out := [*(sent.skipped if sent else ()), *(() if sent else links)]:
            yield f"left out of folders: {_few(left_out)} ({LEFT_OUT})"


def pinned_for(folder: JobFolder) -> Pinned | None:
    """What was pinned for a job; None while not all is."""
    try:
        listed = json.loads(folder.private.text("pinned"))
        if listed["version"] != VERSION:
            return None
        return Pinned(tuple(_known(**pin) for pin in listed["pins"]), tuple(map(str, listed["notes"])))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidInput):
        return None


def is_as_pinned(path: Path, pin: Pin) -> bool:
    """Whether the file or folder is what was pinned: nobody has written there since, or its checksum says so. Raises OSError."""
    if state_of(path) == pin.seen:
        return True
    return pin.expected is not None and path.is_file() and pin.expected == SHA256 + content_sha256(path)


def state_of(path: Path, allowance: Allowance | None = None) -> str:
    """The same for a file or folder while nobody writes there; "" where nothing is. Raises OSError, TakesLong."""
    try:
        found = sorted((one.path, one.status.st_size, one.status.st_mtime_ns) for one in files_in(path, allowance))
    except FileNotFoundError:
        return ""
    return _digest(json.dumps(found))


def _known(name: object, shared: object, content: object, seen: object) -> Pin:
    """A pin as it was written down. Raises InvalidInput for a name that leads out of the job's input."""
    return Pin(base_name(str(name)), bool(shared), str(content), str(seen))


def _read(folder: JobFolder, allowance: Allowance) -> Sent | None:
    """Raises TakesLong where the list alone is a long one, InputProblem where it is none."""
    try:
        size = (folder.path / f"{PRIVATE_PREFIX}manifest").stat().st_size
        allowance.spend(files=size // MANIFEST_FILE_BYTES)
    except FileNotFoundError:
        return None
    try:
        return read_sent(folder)
    except ManifestUnreadable as problem:
        raise InputProblem(Reason.INPUT_INCOMPLETE, [problem.message]) from None


def _by_name(sent: Sent) -> _Listed:
    found: _Listed = {}
    for file in sent.files:
        name, _, path = file.inner.partition("/")
        found.setdefault((file.is_shared, one_form(name)), {}).setdefault(name, {})[path] = file
    return found


def _require_as_sent(source: _Source, path: Path, allowance: Allowance) -> None:
    if source.listed is None:
        return
    where = f"{'data' if source.shared else 'input'}/{source.path.name}"
    if problems := [text for below, listed in source.listed.items() if (text := _compare(path, where, below, listed, allowance))]:
        raise InputProblem(Reason.INPUT_INCOMPLETE, problems)


def _compare(top: Path, where: str, below: str, listed: Arrival, allowance: Allowance) -> str:
    """What is wrong with one file; "" where nothing is.

    The runner compares the SHA-256 of a single file. For all else the time has to show whether somebody has put another
    file there since it was compared, which may be hours before the last transfer of its job ends.
    """
    allowance.spend(files=1)
    path, name = (top / below, f"{where}/{below}") if below else (top, where)
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is gone"
    if not stat.S_ISREG(found.st_mode):
        return f"{name} is no file"
    if found.st_size != listed.size:
        return f"{name} has {found.st_size} bytes, not {listed.size}"
    if listed.modified_ns and _has_other_time(found.st_mtime_ns, listed, in_folder=bool(below)):
        return f"{name} was changed since it was sent"
    return ""


def _has_other_time(modified_ns: int, listed: Arrival, *, in_folder: bool) -> bool:
    """Whether a file's time is another than its sender listed: to the second, which is what a former rsync may have set."""
    if listed.checksum.startswith(SHA256) and not in_folder:
        return False  # the runner compares it
    unit = SECOND_NS if listed.checksum else 1
    return modified_ns // unit != listed.modified_ns // unit


def _links(top: Path, allowance: Allowance) -> list[str]:
    return [one.path for one in files_in(top, allowance) if not one.is_regular] if top.is_dir() else []


def _prune(top: Path, wanted: frozenset[str] | None, allowance: Allowance) -> None:
    """What an earlier transfer has left in a folder of the job's own is none of its input; nor are links."""
    for one in list(files_in(top, allowance)):
        if not one.is_regular or (wanted is not None and one.path not in wanted):
            (top / one.path).unlink(missing_ok=True)


def _pin(source: _Source, path: Path, allowance: Allowance) -> Pin:
    return Pin(source.file.name, source.shared, _content(source.listed), state_of(path, allowance))


def _content(listed: dict[str, Arrival] | None) -> str:
    """What is known of the content by checksums; "" where one is missing."""
    if not listed or not all(file.checksum for file in listed.values()):
        return ""
    if list(listed) == [""]:
        return listed[""].checksum
    return f"files:{_digest(json.dumps(sorted((path, file.checksum) for path, file in listed.items())))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
