"""A job once more: the form that its app takes today, and the very files that it has read.

Owns where those are looked for. A file counts only with the checksum that was recorded; nothing is submitted here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.catalog.files import FileList, InputFile
from server.catalog.forms import completed, known_names
from server.catalog.model import App
from server.catalog.values import counting, input_files
from server.engine.records.record import JobRecord, RecordedInput
from server.errors import CumulusError, InvalidInput
from server.storage.folders import JobFolder
from server.storage.paths import base_name

_RESULT = "%job_dir_"
Checksum = Callable[[Path], str]  # raises OSError
FolderOf = Callable[[int], JobFolder | None]  # of a job by its number, None where that is not known


@dataclass(frozen=True)
class Place:
    """Where a file may be. ``is_own``: the job has kept it, so that it is believed without a checksum."""

    path: Path
    is_own: bool


@dataclass(frozen=True)
class Wanted:
    """A file that the job has read. ``missing`` and ``changed``: what to say where it is not there, or is another now."""

    name: str
    shared: bool
    sha256: str
    places: tuple[Place, ...]
    missing: str
    changed: str


@dataclass(frozen=True)
class RerunPlan:
    """What is submitted, and the files that belong to it; ``remarks``: what cannot be vouched for, a sentence each."""

    settings: dict[str, Any]
    files: tuple[Wanted, ...]
    remarks: tuple[str, ...]


def form_of_today(app: App, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded form without the fields that the app no longer has, with the defaults of those that are new.

    Results of earlier steps become files of this job: it runs without its workflow. Raises InvalidInput where the app does not
    accept a value any more.
    """
    known = known_names(app)
    form = {name: value for name, value in recorded.items() if name in known}
    for control in [control for control in counting(app, form) if isinstance(control, FileList)]:
        if control.name in form:
            form[control.name] = _without_steps(form[control.name])
    return completed(app, form)


def plan(app: App, record: JobRecord, folder: JobFolder, data: Path, folder_of: FolderOf) -> RerunPlan:
    """The same job for today. Raises InvalidInput where its form does not fit any more. Reads no file."""
    if not record.settings and known_names(app):  # as of a former server's job whose form was garbage
        text = f"the form of job {record.id} cannot be read, so that nobody knows what it has run with: submit a new job"
        raise InvalidInput(text, field="job")
    form = form_of_today(app, record.settings)
    read = {one.name: one for one in record.inputs}
    files: list[Wanted] = []
    remarks: list[str] = []
    for file in input_files(app, form):
        known = read.get(file.name, RecordedInput(name=file.name))
        places = tuple(_places(known, file, folder, data, folder_of))
        missing, changed = (_why_not(known, record.id, changed=changed) for changed in (False, True))
        files.append(Wanted(file.name, file.shared, known.sha256, places, missing, changed))
        if not known.sha256:
            remarks.append(f"{file.name}: its checksum was not recorded; what is kept with job {record.id} is taken")
    return RerunPlan(form, tuple(files), tuple(remarks))


def gathered(files: Iterable[Wanted], checksum: Checksum) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Where the files are: those of the shared data, and the job's own. Raises InvalidInput where one is nowhere."""
    places = [(file.shared, _found(file, checksum)) for file in files]
    return tuple(path for shared, path in places if shared), tuple(path for shared, path in places if not shared)


def _found(file: Wanted, checksum: Checksum) -> Path:
    """Where a file is as the job has read it. Raises InvalidInput where it is nowhere."""
    changed = False
    for place in file.places:
        if place.path.is_symlink() or not place.path.exists():
            continue
        if not file.sha256:
            if place.is_own:
                return place.path
            continue
        with suppress(OSError):
            if checksum(place.path) == file.sha256:
                return place.path
        changed = True
    raise InvalidInput(file.changed if changed else file.missing, field="job")


def kept(file: Wanted) -> Path:
    """Where the job itself has kept a file, which is not read for that. Raises InvalidInput where it has not."""
    for place in file.places:
        if place.is_own and not place.path.is_symlink() and place.path.exists():
            return place.path
    raise InvalidInput(file.missing, field="job")


def _places(known: RecordedInput, file: InputFile, folder: JobFolder, data: Path, folder_of: FolderOf) -> Iterator[Place]:
    if not folder.input.is_symlink():  # whoever can write into the job's folder might have it lead anywhere
        yield Place(folder.input / file.name, is_own=True)
    yield Place(data / file.name, is_own=False)
    step = folder_of(known.job) if known.job is not None else None
    with suppress(CumulusError):  # the record may name anything, and only what is among the results is one
        if step is not None:
            yield Place(step.results.file(known.path), is_own=False)


def _why_not(known: RecordedInput, job_id: int, *, changed: bool) -> str:
    if known.origin == "result":
        where = f"{known.name}, a result of job {known.job}, is no longer kept as job {job_id} has read it"
        return f"{where}: run job {known.job} again first, then `cumulus submit` this step with its result"
    if not known.sha256:
        return (
            f"{known.name} is no longer kept with job {job_id}, and no checksum was recorded that another copy could be known by"
        )
    if changed:
        return f"{known.name} is not what job {job_id} has read: send the file with the SHA-256 {known.sha256} again"
    return f"{known.name} is no longer in the storage: send the file with the SHA-256 {known.sha256} again"


def _without_steps(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_step(path) for path in value]
    return _without_step(value)


def _without_step(path: Any) -> Any:
    """``%job_dir_0%/output/deep/a.mzML`` as the name that the file has in the job's own input."""
    return base_name(path.rsplit("/", 1)[-1]) if isinstance(path, str) and path.startswith(_RESULT) else path
