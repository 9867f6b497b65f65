"""Ansible plays on one machine each, run by ansible-runner as child processes.

Owns the private folder of a play; how Ansible reaches the machine is in connection.py, how a failure is explained in failures.py.
What is played is in ``infra/ansible``.

A play may be launched before its machine exists. Ansible then does all that it does before its first connection (0.6 s here, of
them 0.35 s imports) while the machine is made, and waits until :meth:`announce` says where the machine is.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from server.workers.ansible.connection import CONTROL_PERSIST_S, WORKER, Connection, Host, MachineConnection, make_private
from server.workers.ansible.failures import explain_failure
from server.workers.ansible.fork_server import PROGRAM, AnsibleForkServer, folder_of, kill

REMOTE_PYTHON = "/usr/bin/python3"
POLL_S = 0.1
ANSWER_LIMIT_S = 20.0
TASK = re.compile(r"^TASK \[(.*)\]", re.MULTILINE)


@dataclass(frozen=True)
class PlayOutcome:
    """How a play ended. ``message``: for a person, "" where it succeeded; ``output``: all that it printed."""

    ok: bool
    message: str
    output: str


class Playbooks:
    """The playbooks of one folder."""

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.monotonic, fork_server: AnsibleForkServer | None = None
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._fork_server = fork_server

    def announce(self, directory: Path, host: Host, persist_s: float = CONTROL_PERSIST_S) -> None:
        """Say where the machine of the play in ``directory`` is; before or after the play was launched.

        A connection that is opened stays open for ``persist_s`` seconds after its last use.
        """
        MachineConnection(directory).announce(host, persist_s)

    def ask(self, directory: Path, command: Sequence[str], limit_s: float) -> str | None:
        """What a command on the machine that was announced in ``directory`` prints.

        None where the machine does not answer in time, or has no answer to that.
        """
        return MachineConnection(directory).ask(command, limit_s)

    def await_answer(
        self,
        directory: Path,
        command: Sequence[str],
        answer: str | None,
        limit_s: float,
        cancelled: Callable[[], bool],
        pause_s: float = POLL_S,
    ) -> bool:
        """Ask again and again until the machine gives that answer; False where it has not within ``limit_s`` seconds.

        ``answer`` None: any. ``pause_s``: seconds between two questions.
        """
        until = self._clock() + limit_s
        while (left_s := until - self._clock()) > 0 and not cancelled():
            said = self.ask(directory, command, min(left_s, ANSWER_LIMIT_S))
            if said is not None and answer in (None, said):
                return True
            time.sleep(pause_s)
        return False

    def login_command(self, directory: Path, host: Host) -> str:
        """What an administrator types to log in on the machine; ``directory`` must stay as long as that is to work."""
        return MachineConnection(directory).login_command(host)

    def run(
        self,
        playbook: str,
        directory: Path,
        variables: Mapping[str, object],
        timeout_s: float,
        cancelled: Callable[[], bool],
        connection: Connection | None = None,
    ) -> PlayOutcome:
        """Play ``playbook`` in ``directory``, its private folder, which stays; returns when nothing of the play runs any more.

        ``timeout_s`` seconds count from the machine's announcement. Without ``connection``, Ansible is started after it only.
        """
        make_private(directory)
        play = _Play(directory, timeout_s, cancelled, self._clock, self._fork_server)
        connection = connection or self._announced_connection(play)
        if connection is None:
            return play.given_up()
        _prepare(directory, connection)
        environment = _environment(self._folder, directory)
        if connection == "shell":
            environment["ANSIBLE_EXECUTABLE"] = str(MachineConnection(directory).shell)
        return play.run(self._folder / playbook, variables, environment)

    def _announced_connection(self, play: "_Play") -> Connection | None:
        machine = MachineConnection(play.directory)
        while not machine.is_announced:
            if play.must_end():
                return None
            time.sleep(POLL_S)
        return machine.connection


@dataclass
class _Play:
    """One play while it runs."""

    directory: Path
    timeout_s: float
    cancelled: Callable[[], bool]
    clock: Callable[[], float]
    fork_server: AnsibleForkServer | None = None
    announced: float | None = None
    why: str = ""
    failure: dict[str, Any] = field(default_factory=dict)
    processes: list[psutil.Process] = field(default_factory=list)

    def run(self, playbook: Path, variables: Mapping[str, object], environment: Mapping[str, str]) -> PlayOutcome:
        import ansible_runner  # 20 MB and 0.2 s that a controller without a play does not need

        # A callback of our own also keeps ansible-runner from touching the process's signal handlers.
        runner = ansible_runner.interface.init_runner(
            private_data_dir=str(self.directory),
            playbook=str(playbook),
            inventory=str(self.directory / "inventory" / "hosts.json"),
            envvars=dict(environment),
            extravars={name: _literal(value) for name, value in variables.items()},
            settings={"pexpect_timeout": POLL_S},
            ident="play",
            quiet=True,
            event_handler=self._hear,
            cancel_callback=self._must_be_killed,
        )
        if self.fork_server and _is_our_ansible(environment["PATH"]):
            runner.config.command = self.fork_server.command(runner.config.command, runner.config.env)
        runner.run()
        if runner.rc:  # a worker of Ansible may outlive it
            self._find_processes(psutil.process_iter())
        psutil.wait_procs([process for process in self.processes if kill(process)], timeout=5)
        output = _read(self.directory / "artifacts" / "play" / "stdout")
        ok = runner.rc == 0 and not self.why
        message = "" if ok else self.why or explain_failure(self.failure, output)
        return PlayOutcome(ok, message, output)

    def given_up(self) -> PlayOutcome:
        """The outcome of a play that was not begun."""
        return PlayOutcome(False, self.why, "")

    def must_end(self) -> bool:
        """Whether nobody wants the play any more, or its time is over."""
        if self.announced is None and MachineConnection(self.directory).is_announced:
            self.announced = self.clock()
        if self.cancelled():
            self.why = "the play was cancelled"
        elif self.announced is not None and self.clock() - self.announced > self.timeout_s:
            self.why = f"the machine did not finish the play within {self.timeout_s:.0f} s"
        return bool(self.why)

    def _must_be_killed(self) -> bool:
        if not self.must_end():
            return False
        # Ansible's workers leave its process group, so that ansible-runner does not find them.
        self._find_processes(psutil.Process().children(recursive=True))
        return True

    def _find_processes(self, among: Iterable[psutil.Process]) -> None:
        for process in among:
            if _works_in(process, self.directory):
                with suppress(psutil.Error):  # it has ended meanwhile
                    self.processes += [process, *process.children(recursive=True)]

    def _hear(self, event: dict[str, Any]) -> bool:
        kind = event.get("event", "")
        if kind in ("runner_on_failed", "runner_on_unreachable"):
            self.failure = {**event["event_data"].get("res", {}), kind.removeprefix("runner_on_"): True}
        return kind in ("runner_on_failed", "runner_on_unreachable")  # only these are kept as files


def current_task(directory: Path) -> str:
    """The task that the play in ``directory`` is at; "" before its first."""
    tasks = TASK.findall(_read(directory / "artifacts" / "play" / "stdout"))
    return str(tasks[-1]) if tasks else ""


def _literal(value: object) -> object:
    """The value as Ansible reads it without looking for templates in it."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, list | tuple):
        return [_literal(one) for one in value]
    return value


def _prepare(directory: Path, connection: Connection) -> None:
    """Write Ansible's inventory, without anything that is known only once the machine exists, and remove an earlier run's."""
    for name in ("env", "artifacts"):
        shutil.rmtree(directory / name, ignore_errors=True)
    wait = MachineConnection(directory).write_wait()
    variables: dict[str, object] = {
        "ansible_connection": "ssh" if connection == "ssh" else "local",
        "ansible_python_interpreter": REMOTE_PYTHON if connection == "ssh" else sys.executable,
        "ansible_host": WORKER,
        "ansible_ssh_executable": str(wait),
        "ansible_ssh_args": "",
        "ansible_ssh_transfer_method": "piped",
        "ansible_pipelining": True,
        "ansible_ssh_retries": 2,
    }
    (directory / "ansible.cfg").touch()
    inventory = directory / "inventory"
    inventory.mkdir(exist_ok=True)
    (inventory / "hosts.json").write_text(json.dumps({"all": {"hosts": {WORKER: variables}}}, indent=1))


def _environment(folder: Path, directory: Path) -> dict[str, str]:
    """Ansible's settings: nothing of the user's own, and little to look for (all of it saves 0.1 s of 0.7 s)."""
    return {
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_ROLES_PATH": str(folder / "roles"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_FORKS": "1",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C.UTF-8",
    }


def _is_our_ansible(path: str) -> bool:
    """Whether that PATH leads to the Ansible of this environment: another one was chosen by somebody."""
    return shutil.which(PROGRAM, path=path) == str(Path(sys.executable).parent / PROGRAM)


def _works_in(process: psutil.Process, directory: Path) -> bool:
    """Whether a process is of the play with that folder."""
    try:
        command = " ".join(process.cmdline())
        return str(directory) in command or str(MachineConnection(directory).shell) in command or folder_of(process) == directory
    except psutil.Error:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
