"""The controller that runs on this installation, and a job's log while it runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from server.client import Client, Submitted, Unreachable
from server.commands.console import find_job
from server.errors import CumulusError
from server.installation import running_controller
from server.models import Job, open_database
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage

EXIT_FAILED_JOB = 3
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
    except (CumulusError, KeyboardInterrupt):
        controller.cancel(owner, started.job_id)
        click.echo(f"job {started.job_id} is cancelled: its files were not sent", err=True)
        raise


def follow(settings: Settings, job_id: int) -> bool:
    """Print the log as it grows until the job ends; True if it is done. Raises InvalidInput where there is no such job."""
    open_database(settings.database)
    for text in _growth(lambda: find_job(job_id), Storage(settings.storage)):
        click.echo(text, nl=False)
    job = find_job(job_id)
    if job.message:
        click.echo(job.message, err=True)
    return bool(job.state == JobState.DONE)


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
