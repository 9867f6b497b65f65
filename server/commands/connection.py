"""The controller that runs on this installation, and a job's log while it runs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import click

from server.client import Client, Submitted, Unreachable
from server.commands.console import PATIENCE_S, find_job, printable, progress_on_stderr
from server.commands.inputs import Prepared
from server.errors import CumulusError
from server.installation import running_controller
from server.models import Job, open_database
from server.progress import Counter, Step
from server.settings import Settings
from server.states import JobState
from server.storage.delivery import deliver
from server.storage.folders import Storage
from server.terminal import progress_on

POLL_S = 0.5


def client(settings: Settings) -> Client:
    """A client of the controller that runs on this installation. Raises Unreachable."""
    running = running_controller(settings.home)
    if running is None:
        raise Unreachable("no controller runs on this installation: start one with `make run` or `cumulus serve`")
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
    """Put a job's files into the storage. Raises InvalidInput."""
    names = [path.name for path in (*prepared.shared, *prepared.local)]
    what = printable(names[0]) if len(names) == 1 else f"{len(names)} files"
    with progress_on_stderr(PATIENCE_S).step(f"Sending {what} for job {started.job_id}", "MB") as step:
        deliver(storage, storage.folder(started.folder), prepared.shared, prepared.local, step.advance)


def follow(settings: Settings, job_id: int) -> bool:
    """Print the log as it grows until the job ends; True if it is done. Raises InvalidInput where there is no such job."""
    open_database(settings.database)
    with _watched(job_id) as (write, step):
        for text in _growth(lambda: _noted(find_job(job_id), step), Storage(settings.storage)):
            write(text)
    job = find_job(job_id)
    if job.message or job.warning:
        click.echo(job.message or f"done with a warning: {job.warning}", err=True)
    return JobState.DONE in (job.state, job.outcome)  # of one that is archived since


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


def _growth(look: Callable[[], Job], storage: Storage) -> Iterator[str]:
    """What a job's log gains until the job has ended."""
    position = 0
    while True:
        job = look()
        text, position = storage.folder(job.folder).log_from(position)
        if text:
            yield text
        elif JobState(job.state).is_final:
            return
        else:
            time.sleep(POLL_S)
