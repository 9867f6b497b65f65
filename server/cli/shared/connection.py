"""The controller that takes jobs: a job is submitted, and its files are delivered into the storage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from cumulus_client.client import Cumulus
from cumulus_client.errors import ApiError, Unreachable
from cumulus_client.submissions import Submitted
from programs.errors import login
from server.cli.accounts.credentials import current_login
from server.cli.shared.backend import opened
from server.cli.shared.inputs import Prepared
from server.cli.shared.opening import own_installation
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr
from server.engine.records.storage_owner import require_own_storage
from server.errors import InvalidInput
from server.home.folder import SOCKET_FILE
from server.home.running import running_controller
from server.settings import Settings, load_settings
from server.storage.folders import Storage
from server.storage.inputs.delivery import deliver


def known_settings() -> Settings:
    """The settings, of an installation that there is where this user has logged in to none elsewhere. Raises NoInstallation."""
    return load_settings() if current_login() else own_installation()


def taking_jobs(settings: Settings) -> Cumulus:
    """The controller that takes this user's jobs. Raises Unreachable where none runs, StorageNotOurs."""
    if current_login() is None:
        if running_controller(settings.home) is None:
            raise Unreachable("no controller runs on this installation: start one with `make run` or `cumulus serve`")
        if not (settings.home / SOCKET_FILE).is_socket():
            raise Unreachable("the controller takes no commands of this computer: its log says why")
        if may_deliver(settings):
            require_own_storage(settings)
    return opened()


def may_deliver(settings: Settings) -> bool:
    """Whether this user can put files into the storage of the controller that takes the jobs, once it is there."""
    if current_login() is not None:
        return False
    folder = Storage(settings.storage).jobs
    try:
        folder.stat()
    except FileNotFoundError:  # whoever uses it says that it is away
        return True
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def require_deliverable(settings: Settings, prepared: Prepared) -> None:
    """Raises InvalidInput where files would have to be sent, and this user cannot: nothing is submitted then."""
    files = [path.name for path in (*prepared.shared, *prepared.local)]
    if files and not may_deliver(settings):
        where = "the storage of the controller elsewhere" if current_login() else str(settings.storage)
        raise InvalidInput(
            f"{printable(files[0])} cannot be sent: {login()} may not write into {where}."
            f" Have the file put into its data/ and name it by --shared, or run this as {_keeper(settings.storage)}"
        )


def _keeper(storage: Path) -> str:
    """Who can write there."""
    try:
        return storage.owner() if current_login() is None else "a user of the controller's computer who may"
    except (OSError, KeyError):
        return "who runs the controller"


@contextmanager
def cancelled_on_failure(cumulus: Cumulus, submitted: Submitted) -> Iterator[None]:
    """Cancel a job whose files cannot be sent, or whose sender was interrupted: it would wait for them."""
    try:
        yield
    except BaseException:
        with suppress(ApiError):
            cumulus.jobs.cancel(submitted.id)
            click.echo(f"job {submitted.id} is cancelled: its files were not sent", err=True)
        raise


def send(settings: Settings, submitted: Submitted, prepared: Prepared) -> None:
    """Put a job's files into the storage, and say what has become of them. Raises InvalidInput.

    Where this user cannot, the job was submitted as complete.
    """
    if not may_deliver(settings):
        return
    storage = Storage(settings.storage)
    names = [*(path.name for path in (*prepared.shared, *prepared.local)), *prepared.stored]
    what = printable(names[0]) if len(names) == 1 else f"{len(names)} files"
    with progress_on_stderr(PATIENCE_S).step(f"Sending {what} for job {submitted.id}", "MB") as step:
        folder = storage.folder(submitted.folder)
        done = deliver(storage, folder, prepared.shared, prepared.local, step.advance, stored=prepared.stored)
    for text in done.words:
        click.echo(printable(text), err=True)
