"""Ansible plays on workers, and what else is said to a machine over the same connection: asking, waiting, logging in.

Each play has a private folder, ``plays/<worker>.<phase>`` in the home; who plays twice replaces it.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from server.errors import InfrastructureError
from server.home.files import clear, own_folder
from server.settings import Settings
from server.workers.address import Address
from server.workers.ansible.connection import Host
from server.workers.ansible.playbooks import Playbooks, PlayOutcome
from server.workers.clouds.base import Cloud, Layout

STATUS_LIMIT_S = 15.0
BOOT_POLL_S = 1.0


class PlayFailed(InfrastructureError):
    """An Ansible play failed; ``output`` is all that it printed."""

    code = "play_failed"

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class WorkerPlays:
    """Those of one installation."""

    def __init__(self, cloud: Cloud, playbooks: Playbooks, settings: Settings) -> None:
        self._cloud = cloud
        self._playbooks = playbooks
        self._settings = settings

    @property
    def folder(self) -> Path:
        """The plays' folders."""
        return self._settings.home / "plays"

    def open(self, worker: str, phase: str) -> Path:
        """A private folder for the worker and phase; an earlier attempt's is replaced."""
        directory = self.folder / f"{worker}.{phase}"
        own_folder(self.folder)
        clear(directory)
        return directory

    def announce(self, directory: Path, worker: str, address: Address, layout: Layout, persist_s: float | None = None) -> None:
        """Tell the play in that folder where its machine is; the connection to it is kept for ``persist_s`` seconds."""
        host = self._host(worker, address, layout)
        if persist_s is None:
            self._playbooks.announce(directory, host)
        else:
            self._playbooks.announce(directory, host, persist_s)

    def play_start(self, directory: Path, layout: Layout, cancelled: Callable[[], bool]) -> None:
        """Start the job on the machine that was announced, or will be. Raises PlayFailed."""
        outcome = self._play("start", directory, layout, cancelled)
        if not outcome.ok:
            raise PlayFailed(outcome.message, outcome.output)

    def start(self, worker: str, address: Address, layout: Layout, unwanted: Callable[[], bool]) -> None:
        """Start the job on a machine that is there. Raises PlayFailed."""
        directory = self.open(worker, "start")
        self.announce(directory, worker, address, layout)
        self.play_start(directory, layout, unwanted)

    def tear_down(self, worker: str, address: Address, layout: Layout) -> bool:
        """End the job on the machine; whether that was confirmed. A machine that does not answer is destroyed all the same."""
        directory = self.open(worker, "teardown")
        self.announce(directory, worker, address, layout)
        return self._play("teardown", directory, layout, lambda: False).ok

    def await_boot(self, worker: str, address: Address, layout: Layout, unwanted: Callable[[], bool]) -> None:
        """Where the cloud knows no more than that the machine was switched on: wait until it answers.

        No longer than the limit for its creation: where it never answers, the play that follows says why.
        """
        if self._cloud.boots_after_creation:
            directory, limit_s = self.open(worker, "boot"), self._settings.create_timeout_s
            self.announce(directory, worker, address, layout)
            self._playbooks.await_answer(directory, layout.status_command, None, limit_s, unwanted, BOOT_POLL_S)

    def await_idle(self, worker: str, address: Address, layout: Layout, persist_s: float, unwanted: Callable[[], bool]) -> bool:
        """Whether the machine says within the limit for its creation that it waits for a job."""
        directory = self.open(worker, "ready")
        self.announce(directory, worker, address, layout, persist_s)
        limit_s = self._settings.create_timeout_s
        return self._playbooks.await_answer(directory, layout.status_command, "idle", limit_s, unwanted)

    def status(self, worker: str, address: Address, layout: Layout) -> str | None:
        """What the machine says of its job; None where it does not answer."""
        directory = self.open(worker, "status")
        self.announce(directory, worker, address, layout)
        return self._playbooks.ask(directory, layout.status_command, STATUS_LIMIT_S)

    def login_command(self, worker: str, address: Address, layout: Layout) -> str:
        """What an administrator types to log in on the machine."""
        return self._playbooks.login_command(self.open(worker, "login"), self._host(worker, address, layout))

    def prune(self, now: float) -> None:
        """Remove the records of plays that are older than the setting. ``now``: Unix seconds."""
        for entry in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(FileNotFoundError):  # the connection of a play has ended meanwhile
                if now - entry.lstat().st_mtime > self._settings.play_retention_s:
                    clear(entry)

    def _play(self, phase: str, directory: Path, layout: Layout, cancelled: Callable[[], bool]) -> PlayOutcome:
        command = layout.start_command if phase == "start" else layout.stop_command
        variables = {f"cumulus_{'start' if phase == 'start' else 'stop'}_command": list(command)}
        limit_s = self._settings.play_timeout_s
        return self._playbooks.run(f"{phase}.yml", directory, variables, limit_s, cancelled, layout.connection)

    def _host(self, worker: str, address: Address, layout: Layout) -> Host:
        where = (address.host, address.port, address.user, address.host_key)
        return Host(worker, layout.connection, *where, self._cloud.ssh_key, layout.shell, layout.proxy)
