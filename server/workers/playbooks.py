"""Ansible plays on one machine each, run by ansible-runner as child processes.

Owns how Ansible reaches a machine (its pinned host key, its ssh options), the private folder of a play and what a failed play
means for a person. What is played is in ``infra/ansible``.

A play may be launched before its machine exists. Ansible then does all that it does before its first connection (0.6 s here, of
them 0.35 s imports) while the machine is made, and waits in the program that it takes for ``ssh`` (or for the shell), until
:meth:`announce` says where the machine is.
"""

import hashlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from server.errors import InfrastructureError
from server.workers.preloaded import PROGRAM, Preloaded, folder_of, kill

Connection = Literal["ssh", "shell"]
"""How commands get to a machine: by ssh, or through a program of this computer that is the machine's shell."""
WORKER = "worker"  # a play has one host, always called that
REMOTE_PYTHON = "/usr/bin/python3"
LOOK_S = 0.1
CONNECT_LIMIT_S = 10
CONTROL_PERSIST_S = 60.0
ANSWER_LIMIT_S = 20.0
UNIX_PATH_LIMIT = 107
SSH_SUFFIX = 17  # ssh opens its control socket under a name that much longer, and renames it
SSH_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "none",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "PreferredAuthentications": "publickey",
    # The cheapest for an emulated processor: 0.6 s for a new connection instead of 0.9 s.
    "KexAlgorithms": "curve25519-sha256",
    "Ciphers": "aes128-gcm@openssh.com",
    "GSSAPIAuthentication": "no",
    "ConnectTimeout": str(CONNECT_LIMIT_S),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "6",
    "LogLevel": "ERROR",
    "ControlMaster": "auto",
}
# Ansible asks what its ssh can do before it needs it. The pipe is opened before the look, so that no announcement is missed.
WAIT = """\
#!/bin/sh
[ "$*" != '-o ControlPersist' ] || exec ssh "$@"
exec 3<> {announced}
[ -x {reach} ] || read -r _ <&3
exec {reach} "$@" 3<&-
"""


@dataclass(frozen=True)
class Host:
    """Where and how a machine is reached. ``host_key``: its public key as one line; ``ssh_key``: the private key that logs in.

    ``shell``: the program of this computer that takes ``-c COMMAND`` and runs the command on the machine, where no ssh does.
    """

    name: str
    connection: Connection
    address: str = ""
    port: int = 0
    user: str = ""
    host_key: str = ""
    ssh_key: Path = Path()
    shell: tuple[str, ...] = ("/bin/sh",)


@dataclass(frozen=True)
class PlayOutcome:
    """How a play ended. ``message``: for a person, "" where it succeeded; ``output``: all that it printed."""

    ok: bool
    message: str
    output: str
    unreachable: bool
    directory: Path


class Playbooks:
    """The playbooks of one folder."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic, preloaded: Preloaded | None = None) -> None:
        self._folder = folder
        self._clock = clock
        self._preloaded = preloaded

    def announce(self, directory: Path, host: Host, persist_s: float = CONTROL_PERSIST_S) -> None:
        """Say where the machine of the play in ``directory`` is; before or after the play was launched.

        A connection that is opened stays open for ``persist_s`` seconds after its last use.
        """
        _private(directory)
        (directory / "known_hosts").write_text(f"{host.name} {host.host_key}\n")
        command = _ssh(directory, host, persist_s) if host.connection == "ssh" else host.shell
        _write_program(_connection(directory), f"# {host.connection}\n")
        _write_program(_reach(directory), f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        _wake(_announced(directory))

    def ask(self, directory: Path, command: Sequence[str], limit_s: float) -> str | None:
        """What a command on the machine that was announced in ``directory`` prints.

        None where the machine does not answer in time, or has no answer to that.
        """
        words = ["-c", shlex.join(command)] if self._is_shell(directory) else [WORKER, shlex.join(command)]
        try:
            done = subprocess.run(
                [_reach(directory), *words],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=limit_s,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return None
        return None if done.returncode else done.stdout.strip()

    def await_answer(
        self,
        directory: Path,
        command: Sequence[str],
        answer: str | None,
        limit_s: float,
        cancelled: Callable[[], bool],
        pause_s: float = LOOK_S,
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
        self.announce(directory, host)
        return shlex.join([*_ssh(directory, host), host.name])

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
        _private(directory)
        play = _Play(directory, timeout_s, cancelled, self._clock, self._preloaded)
        connection = connection or self._announced_connection(play)
        if connection is None:
            return play.given_up()
        _prepare(directory, connection)
        return play.run(self._folder / playbook, variables, _environment(self._folder, directory, connection))

    def _announced_connection(self, play: "_Play") -> Connection | None:
        while not _reach(play.directory).exists():
            if play.must_end():
                return None
            time.sleep(LOOK_S)
        return "shell" if self._is_shell(play.directory) else "ssh"

    def _is_shell(self, directory: Path) -> bool:
        return "shell" in _connection(directory).read_text()


@dataclass
class _Play:
    """One play while it runs."""

    directory: Path
    timeout_s: float
    cancelled: Callable[[], bool]
    clock: Callable[[], float]
    preloaded: Preloaded | None = None
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
            settings={"pexpect_timeout": LOOK_S},
            ident="play",
            quiet=True,
            event_handler=self._hear,
            cancel_callback=self._must_be_killed,
        )
        if self.preloaded and _is_our_ansible(environment["PATH"]):
            runner.config.command = self.preloaded.command(runner.config.command, runner.config.env)
        runner.run()
        if runner.rc:  # a worker of Ansible may outlive it
            self._find_processes(psutil.process_iter())
        psutil.wait_procs([process for process in self.processes if kill(process)], timeout=5)
        output = _read(self.directory / "artifacts" / "play" / "stdout")
        ok = runner.rc == 0 and not self.why
        message = "" if ok else self.why or _explain(self.failure, output)
        return PlayOutcome(ok, message, output, "unreachable" in self.failure, self.directory)

    def given_up(self) -> PlayOutcome:
        """The outcome of a play that was not begun."""
        return PlayOutcome(False, self.why, "", False, self.directory)

    def must_end(self) -> bool:
        """Whether nobody wants the play any more, or its time is over."""
        if self.announced is None and _reach(self.directory).exists():
            self.announced = self.clock()
        if self.cancelled():
            self.why = "the play was cancelled"
        elif self.announced is not None and self.clock() - self.announced > self.timeout_s:
            self.why = f"the machine did not do what it was told within {self.timeout_s:.0f} s"
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


def _literal(value: object) -> object:
    """The value as Ansible reads it without looking for templates in it."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, list | tuple):
        return [_literal(one) for one in value]
    return value


def _explain(failure: Mapping[str, Any], output: str) -> str:
    """One sentence or two out of what a failed task returned."""
    said = (
        _last(str(failure.get("stderr") or ""))
        or _last(str(failure.get("stdout") or ""))
        or str(failure.get("msg") or "").strip()
    )
    if "unreachable" in failure:
        return _explain_unreachable(said)
    if failure:
        return said or f"exit code {failure.get('rc', 'unknown')}"
    return _last(output) or "Ansible ended without a word"


def _explain_unreachable(said: str) -> str:
    said = said.removeprefix("Failed to connect to the host via ssh:").strip() or "no connection"
    if "Host key verification failed" in said or "HOST IDENTIFICATION HAS CHANGED" in said:
        return f"the machine's host key is not the one it was made with: {said}"
    if "Permission denied" in said:
        return f"the machine does not let the controller in: {said}"
    return f"the machine does not answer: {said}"


def _last(text: str, lines: int = 3) -> str:
    return "\n".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])


def _prepare(directory: Path, connection: Connection) -> None:
    """Write what Ansible is told about the machine: nothing that is not known before the machine is. An earlier run's is gone."""
    for name in ("env", "artifacts"):
        shutil.rmtree(directory / name, ignore_errors=True)
    reach, announced = _reach(directory), _announced(directory)
    with suppress(FileExistsError):
        os.mkfifo(announced, 0o600)
    _write_program(_wait(directory), WAIT.format(reach=shlex.quote(str(reach)), announced=shlex.quote(str(announced))))
    variables: dict[str, object] = {
        "ansible_connection": "ssh" if connection == "ssh" else "local",
        "ansible_python_interpreter": REMOTE_PYTHON if connection == "ssh" else sys.executable,
        "ansible_host": WORKER,
        "ansible_ssh_executable": str(_wait(directory)),
        "ansible_ssh_args": "",
        "ansible_ssh_transfer_method": "piped",
        "ansible_pipelining": True,
        "ansible_ssh_retries": 2,
    }
    (directory / "ansible.cfg").touch()
    inventory = directory / "inventory"
    inventory.mkdir(exist_ok=True)
    (inventory / "hosts.json").write_text(json.dumps({"all": {"hosts": {WORKER: variables}}}, indent=1))


def _environment(folder: Path, directory: Path, connection: Connection) -> dict[str, str]:
    """Ansible's settings: nothing of the user's own, and little to look for (all of it saves 0.1 s of 0.7 s)."""
    settings = {
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
    return settings | ({"ANSIBLE_EXECUTABLE": str(_wait(directory))} if connection == "shell" else {})


def _ssh(directory: Path, host: Host, persist_s: float = CONTROL_PERSIST_S) -> list[str]:
    own = {
        "HostName": host.address,
        "Port": str(host.port),
        "User": host.user or "root",
        "HostKeyAlias": host.name,
        "UserKnownHostsFile": _quoted(directory / "known_hosts"),
        "IdentityFile": _quoted(host.ssh_key),
        "ControlPath": str(_control_path(directory, host)),
        "ControlPersist": f"{persist_s:.0f}",
    }
    options = [word for name, value in (own | SSH_OPTIONS).items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *options]


def _quoted(path: Path) -> str:
    """A path as ssh's own options take it where it may hold a blank."""
    return f'"{path}"'


def _control_path(directory: Path, host: Host) -> Path:
    """The same for all plays on a machine, so that they share a connection; "none" where no path is short enough."""
    identity = hashlib.sha256(f"{host.name} {host.address} {host.port} {host.host_key}".encode()).hexdigest()[:12]
    path = directory.parent / f".{identity}"
    if len(os.fsencode(path)) + SSH_SUFFIX > UNIX_PATH_LIMIT or "%" in str(path) or " " in str(path):
        return _private_temporary() / identity
    return path


def _private_temporary() -> Path:
    """A folder of this user alone with a short name. Raises InfrastructureError where somebody else has it."""
    folder = Path(tempfile.gettempdir()) / f"cumulus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InfrastructureError(f"{folder} belongs to somebody else: remove it, or set TMPDIR")
    return folder


def _private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write_program(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.chmod(0o700)
    beside.rename(path)


def _wake(pipe: Path) -> None:
    """Wake who waits at a named pipe; who comes later sees for himself."""
    with suppress(OSError):  # there is no pipe, or nobody at it
        handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(handle, b"\n")
        finally:
            os.close(handle)


def _announced(directory: Path) -> Path:
    return directory / "announced"


def _reach(directory: Path) -> Path:
    return directory / "reach"


def _wait(directory: Path) -> Path:
    return directory / "wait"


def _connection(directory: Path) -> Path:
    return directory / "connection"


def _is_our_ansible(path: str) -> bool:
    """Whether that PATH leads to the Ansible of this environment: another one is somebody's wish."""
    return shutil.which(PROGRAM, path=path) == str(Path(sys.executable).parent / PROGRAM)


def _works_in(process: psutil.Process, directory: Path) -> bool:
    """Whether a process is of the play with that folder."""
    try:
        return str(directory) in " ".join(process.cmdline()) or folder_of(process) == directory
    except psutil.Error:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
