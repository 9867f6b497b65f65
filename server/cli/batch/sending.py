"""The files of a batch on this computer: which are meant, and how they come into the storage. Owns no words of the API."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from cumulus_client.batches import BatchPlan, PlannedFile, PlannedJob, Submitted
from cumulus_client.client import Cumulus
from cumulus_client.errors import ApiError
from server.cli.shared.connection import may_deliver
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr
from server.errors import InvalidInput
from server.settings import Settings
from server.storage.folders import Storage
from server.storage.inputs.delivered import Delivered
from server.storage.inputs.delivery import deliver

NAMED = 10  # files in one message


@dataclass(frozen=True)
class JobFiles:
    """The files of one job: those of this computer, to the shared data or to the job alone, and the names of those that the
    storage has.
    """

    shared: tuple[Path, ...]
    local: tuple[Path, ...]
    stored: tuple[str, ...]

    @property
    def sends(self) -> tuple[Path, ...]:
        """All that are sent."""
        return (*self.shared, *self.local)


def matching(words: Iterable[str]) -> list[Path]:
    """The files that were named, also by a pattern that the shell has not resolved. Raises InvalidInput."""
    found: list[Path] = []
    for word in words:
        path = Path(word).expanduser()
        paths = [path] if path.exists() else [Path(one) for one in sorted(glob.glob(str(path)))]  # noqa: PTH207  # also absolute
        if not paths:
            raise InvalidInput(f"there is no file {word}")
        found += [one.absolute() for one in paths]
    return found


def found_files(plan: BatchPlan, given: Mapping[str, Path], folder: Path) -> dict[int, JobFiles]:
    """The files of each job, by its position. ``given``: files that were named, by their names; ``folder``: of the sample sheet.

    A file of this computer is sent; one that is not here is the storage's. Raises InvalidInput that names what is nowhere.
    """
    found, missing = {}, list[str]()
    for job in plan.jobs:
        places = [(file, _place(file, given, folder)) for file in job.files]
        missing += [_missing(job, file) for file, place in places if place is None and not file.is_stored]
        sent = [(file, place) for file, place in places if place is not None]
        found[job.position] = JobFiles(
            shared=tuple(place for file, place in sent if file.is_shared),
            local=tuple(place for file, place in sent if not file.is_shared),
            stored=tuple(file.name for file, place in places if place is None),
        )
    if missing:
        more = [f"and {len(missing) - NAMED} more"] if len(missing) > NAMED else []
        raise InvalidInput("; ".join([*missing[:NAMED], *more]))
    return found


def require_sendable(settings: Settings, files: Iterable[JobFiles]) -> None:
    """Raises InvalidInput where a file cannot be sent: nothing is submitted then."""
    if not may_deliver(settings):
        from server.cli.sending.uploading import require_files

        require_files(path for one in files for path in one.sends)


def send_files(settings: Settings, client: Cumulus, batch: Submitted, files: Mapping[int, JobFiles]) -> None:
    """Bring the files of all jobs into the storage; one that many use is sent and read once. Raises InvalidInput, ApiError."""
    if may_deliver(settings):
        _deliver(Storage(settings.storage), batch, files)
        return
    from server.cli.sending.uploading import sending

    waiting = [(job.job, files[job.position]) for job in batch.jobs if job.waits_for]
    paths = {path for _, own in waiting for path in own.sends}
    with sending(client, f"Sending the files of batch {batch.batch}", paths) as sender:
        for number, own in waiting:
            sender.of_job(number, own.shared, own.local, own.stored)


def _deliver(storage: Storage, batch: Submitted, files: Mapping[int, JobFiles]) -> None:
    waiting = [job for job in batch.jobs if job.waits_for]
    delivered, notes = Delivered(), set[str]()
    with progress_on_stderr(PATIENCE_S).step(f"Sending the files of batch {batch.batch}", "jobs") as step:
        for number, job in enumerate(waiting, 1):
            own = files[job.position]
            done = deliver(storage, storage.folder(job.folder), own.shared, own.local, stored=own.stored, delivered=delivered)
            notes.update(done.words)
            step.advance(number, len(waiting))
    for text in sorted(notes):
        click.echo(printable(text), err=True)


@contextmanager
def cancelled_batch_on_failure(client: Cumulus, batch: Submitted) -> Iterator[None]:
    """Cancel a batch whose files cannot be sent, or whose sender was interrupted: its jobs would wait for them."""
    try:
        yield
    except BaseException:
        with suppress(ApiError):
            client.batches.cancel(batch.batch)
            click.echo(f"batch {batch.batch} is cancelled: its files were not sent", err=True)
        raise


def names_of(files: Iterable[JobFiles]) -> list[str]:
    """The names of all files that are sent, each once."""
    return sorted({path.name for one in files for path in one.sends})


def _place(file: PlannedFile, given: Mapping[str, Path], folder: Path) -> Path | None:
    """Where the file is on this computer; None where it is not."""
    if file.name in given:
        return given[file.name]
    path = folder / file.path
    return path.absolute() if file.path and path.exists() else None


def _missing(job: PlannedJob, file: PlannedFile) -> str:
    where = f"{job.place}, {file.field}"
    return f"{where}: there is no file {printable(file.path or file.name)} here, and the storage has none of that name"


def by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by their names. Raises InvalidInput where two have the same."""
    found: dict[str, Path] = {}
    for path in paths:
        if (other := found.setdefault(path.name, path)) != path:
            raise InvalidInput(f"{other} and {path} have the same name: rename one of them")
    return found
