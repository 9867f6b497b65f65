"""The controller that runs on this installation, as commands use it: a job is submitted, and its files are sent."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from server.cli.shared.inputs import Prepared
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr
from server.client import Client, Submitted, Unreachable
from server.engine.records.storage_owner import require_own_storage
from server.errors import CumulusError
from server.home.installation import running_controller
from server.settings import Settings
from server.storage.folders import Storage
from server.storage.inputs.delivery import deliver


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
