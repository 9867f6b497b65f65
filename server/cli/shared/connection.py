"""The controller that runs on this installation, and a job's log while it runs."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import click

from server.catalog.flavors import read_flavors
from server.cli.shared.inputs import Prepared
from server.cli.shared.opening import until_the_end
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr
from server.cli.shared.terminal import progress_on
from server.client import Client, Submitted, Unreachable
from server.db.models import Job
from server.db.opening import open_to_read
from server.engine.history import last_word, remarks
from server.engine.records.storage_owner import require_own_storage
from server.errors import CumulusError
from server.home.installation import running_controller
from server.progress import Counter, Step
from server.services.job_lookup import find_job
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage
from server.storage.inputs.delivery import deliver
from server.storage.logs.job_log import Log

POLL_S = 0.5
COPIED = 1024 * 1024  # bytes at once


def client(settings: Settings) -> Client:
    """A client of the controller that runs here, to write into its storage. Raises Unreachable, StorageNotOurs."""
    running = running_controller(settings.home)
    if running is None:
        raise Unreachable("no controller runs on this installation: start one with `make run` or `cumulus serve`")
    require_own_storage(settings)
    return Client(running.url)


@contextmanager
def cancelled_on_failure(controller: Client, owner: str, started: Submitted) -> Iterator[None]:
    """Cancel a job whose files cannot be sent, or whose sender was interrupted: it would wait for them."""
    try:
        yield
    except BaseException:
        with suppress(CumulusError):
            controller.cancel(owner, started.job_id)
            click.echo(f"job {started.job_id} is cancelled: its files were not sent", err=True)
        raise


def send(storage: Storage, started: Submitted, prepared: Prepared) -> None:
    """Put a job's files into the storage, and say what has become of them. Raises InvalidInput."""
    names = [*(path.name for path in (*prepared.shared, *prepared.local)), *prepared.stored]
    what = printable(names[0]) if len(names) == 1 else f"{len(names)} files"
    with progress_on_stderr(PATIENCE_S).step(f"Sending {what} for job {started.job_id}", "MB") as step:
        folder = storage.folder(started.folder)
        done = deliver(storage, folder, prepared.shared, prepared.local, step.advance, stored=prepared.stored)
    for text in done.words:
        click.echo(printable(text), err=True)


def follow(settings: Settings, job_id: int) -> bool:
    """Print the log as it grows until the job ends; True if it is done. Raises InvalidInput where there is no such job."""
    until_the_end(open_to_read(settings))
    with _watched(job_id) as (write, step):
        max_weight = read_flavors(settings.flavors).max_weight
        for text in _growth(lambda: _noted(find_job(job_id), step), Storage(settings.storage), max_weight):
            write(text)
    job = find_job(job_id)
    if job.message or job.warning:
        click.echo(job.message or f"done with a warning: {job.warning}", err=True)
    return JobState.DONE in (job.state, job.outcome)  # of one that is archived since


def print_log(settings: Settings, job: Job) -> None:
    """Print all of a job's log, however long, with what happened beside its run."""
    log = Log(Storage(settings.storage).folder(job.folder).log_path)
    out = sys.stdout.buffer
    with log.whole(remarks(job, read_flavors(settings.flavors).max_weight), last_word(job)) as whole:
        shutil.copyfileobj(whole, out, COPIED)
    out.flush()


@contextmanager
def _watched(job_id: int) -> Iterator[tuple[Callable[[str], None], Step]]:
    """Where the log goes, and a live line beside it of what the job is at. Only a person at a terminal sees that one."""
    if not sys.stderr.isatty():
        yield partial(click.echo, nl=False), Counter("", "", 0.0)
        return
    both = sys.stdout.isatty()  # then the log must be written past the live line
    progress = progress_on(sys.stdout) if both else progress_on_stderr()
    lines = WholeLines(progress.say)
    with progress.step(f"Job {job_id}") as step:
        yield lines.write if both else partial(click.echo, nl=False), step
        lines.end()


@dataclass
class WholeLines:
    """Takes text in pieces and says it in lines."""

    say: Callable[[str], None]
    rest: str = ""

    def write(self, text: str) -> None:
        """Say the lines that are whole now."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.say(line)

    def end(self) -> None:
        """Say what is left."""
        if self.rest:
            self.say(self.rest)


def _noted(job: Job, step: Step) -> Job:
    step.note(f"{job.state}: {job.message}" if job.message else str(job.state))
    return job


def _growth(look: Callable[[], Job], storage: Storage, max_weight: int) -> Iterator[str]:
    """What a job's log gains until the job has ended, and what happens beside its run when it does."""
    position, told = 0, set[str]()
    while True:
        job = look()
        happened = [line for line in (one.line().decode() for one in remarks(job, max_weight)) if line not in told]
        told.update(happened)
        text, position = storage.folder(job.folder).log_from(position)
        if happened or text:
            yield "".join(happened) + text
        elif JobState(job.state).is_final:
            return
        else:
            time.sleep(POLL_S)
