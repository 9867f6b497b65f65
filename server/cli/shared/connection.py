"""The controller that takes jobs: a job is submitted, and its files are delivered into the storage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from cumulus_client.client import Cumulus
from cumulus_client.errors import ApiError, Unreachable
from cumulus_client.submissions import Submitted
from server.cli.accounts.credentials import current_login
from server.cli.sending.shared_files import FilesElsewhere, LocalFiles, SharedFiles
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


def shared_files(settings: Settings) -> SharedFiles:
    """The shared data of the storage that takes this user's jobs. Raises Unreachable where its controller has to be asked."""
    if may_deliver(settings):
        return LocalFiles(Storage(settings.storage).data)
    return FilesElsewhere(taking_jobs(settings).storage)


def require_deliverable(settings: Settings, prepared: Prepared) -> None:
    """Raises InvalidInput where a file cannot be sent: nothing is submitted then."""
    if not may_deliver(settings):
        from server.cli.sending.uploading import require_files

        require_files((*prepared.shared, *prepared.local))
        if (prepared.shared or prepared.local) and (folders := _stored_folders(settings, prepared)):
            text = "is a folder of the storage, which cannot be used together with files that are sent over the network yet"
            raise InvalidInput(f"{printable(folders[0])} {text}: run this on the controller's computer", field="input")


def is_complete(settings: Settings, prepared: Prepared) -> bool:
    """Whether a job is submitted as one that nobody sends files for: over the network those that have some wait for them."""
    if may_deliver(settings) or prepared.shared or prepared.local:
        return False
    return not prepared.stored or bool(_stored_folders(settings, prepared))


def _stored_folders(settings: Settings, prepared: Prepared) -> list[str]:
    """Which of the shared files are folders: nobody can say over the network what is in them."""
    known = shared_files(settings)
    return [name for name in prepared.stored if known.kind(name) == "folder"]


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


def send(settings: Settings, cumulus: Cumulus, submitted: Submitted, prepared: Prepared) -> None:
    """Bring a job's files into the storage, and say what has become of them. Raises InvalidInput, ApiError.

    Where this user cannot write there, the controller takes them, over lines that break, too.
    """
    names = [*(path.name for path in (*prepared.shared, *prepared.local)), *prepared.stored]
    what = f"Sending {printable(names[0]) if len(names) == 1 else f'{len(names)} files'} for job {submitted.id}"
    if may_deliver(settings):
        _deliver(settings, what, submitted, prepared)
    elif not is_complete(settings, prepared):
        from server.cli.sending.uploading import sending

        with sending(cumulus, what, (*prepared.shared, *prepared.local)) as sender:
            sender.of_job(submitted.id, prepared.shared, prepared.local, prepared.stored)


def _deliver(settings: Settings, what: str, submitted: Submitted, prepared: Prepared) -> None:
    from server.storage.inputs.delivery import deliver

    storage = Storage(settings.storage)
    with progress_on_stderr(PATIENCE_S).step(what, "MB") as step:
        folder = storage.folder(submitted.folder)
        done = deliver(storage, folder, prepared.shared, prepared.local, step.advance, stored=prepared.stored)
    for text in done.words:
        click.echo(printable(text), err=True)
