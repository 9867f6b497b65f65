"""Ansible with its modules loaded: one process that forks a child for each play, so that none of them loads them again.

Of the 0.95 s that a play computes 0.6 s are imports. ansible-runner starts :data:`CLIENT` instead of ``ansible-playbook``; that
hands its arguments, environment, folder and terminal to this process, and ends with the play's exit code. Where this process is
not there, the client becomes the ``ansible-playbook`` that it stands for.

A play lives no longer than its client, and all of them no longer than the controller: whose end closes a pipe, however it dies.
Their command line is this process's own; what tells them apart is :func:`folder_of`.
"""

import array
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from server.process_priority import TOOL, step_back

CLIENT = Path(__file__).with_name("fork_client.py")
PROGRAM = "ansible-playbook"
BACKLOG = 64
MAX_ORDER = 1 << 20  # of a client: arguments and environment
TERMINAL = 3  # stdin, stdout, stderr
NAME = b"cumulus-play"  # as the kernel has it; what a play executes has its own again
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
MAX_FD = 4096  # far more than there are plays at once
UCRED_INTS = 3  # struct ucred: pid, uid, gid
# What every play of ours needs beside what the command, and the loaders of plugins below, import by themselves.
MODULES = (
    "ansible.executor.playbook_executor",
    "ansible.executor.process.worker",
    "ansible.executor.task_executor",
    "ansible.plugins.action.raw",
    "ansible.plugins.filter.core",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.test.core",
    "ansible.plugins.vars.host_group_vars",
)


@dataclass
class AnsibleForkServer:
    """The process, as the controller has it. It is started with the first play and may be started again."""

    _process: "subprocess.Popen[bytes] | None" = None
    _lifeline: "IO[bytes] | None" = None
    _name: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def command(self, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """What to start instead of ``argv``, an ``ansible-playbook`` with its arguments.

        ``environment``: settings that are the same for all plays, for the process where it has to be started.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start(environment)
        return [sys.executable, "-I", "-S", str(CLIENT), self._name, *argv]

    def stop(self) -> None:
        """End it, with what it plays."""
        with self._lock:
            if self._lifeline is not None:
                self._lifeline.close()
            if self._process is not None:
                self._process.wait()
            self._process = self._lifeline = None

    def _start(self, environment: Mapping[str, str]) -> None:
        """It may be asked at once: the kernel keeps those who come while it still loads."""
        self._name = f"cumulus-plays-{uuid.uuid4().hex}"  # without a file that a killed controller would leave
        reader, writer = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener, os.fdopen(reader, "rb") as ours:
            listener.bind(f"\0{self._name}")
            listener.listen(BACKLOG)
            fds = (listener.fileno(), ours.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", __name__, *map(str, fds)],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                cwd="/",
                start_new_session=True,
            )
        self._lifeline = os.fdopen(writer, "wb")


@dataclass
class _Plays:
    """The plays of the process: each has its client's connection and a descriptor that tells of its end."""

    events: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self, listener: socket.socket, lifeline: int) -> None:
        """Fork and wait, until the lifeline is cut."""
        self.events.register(listener, selectors.EVENT_READ)
        self.events.register(lifeline, selectors.EVENT_READ)
        while True:
            for key, _ in self.events.select():
                if key.fileobj == lifeline:
                    return
                if key.fileobj is listener:
                    self._take(listener.accept()[0])
                elif key.fd in self.events.get_map():
                    key.data()

    def end_all(self) -> None:
        """Kill what still plays."""
        for child in psutil.Process().children():
            _end(child.pid)

    def _take(self, connection: socket.socket) -> None:
        try:
            order, terminal = receive(connection)
        except (OSError, ValueError):
            return connection.close()
        pid = os.fork()
        if pid == 0:
            _play(order, terminal)
        for fd in terminal:
            os.close(fd)
        ended = os.pidfd_open(pid)
        self.events.register(ended, selectors.EVENT_READ, lambda: self._over(pid, ended, connection))
        self.events.register(connection, selectors.EVENT_READ, lambda: self._abandoned(pid, connection))

    def _over(self, pid: int, ended: int, connection: socket.socket) -> None:
        """Tell the client, if it still listens."""
        self.events.unregister(ended)
        os.close(ended)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if connection.fileno() >= 0:  # else it was abandoned
            self.events.unregister(connection)
            with connection:
                _tell(connection, code)

    def _abandoned(self, pid: int, connection: socket.socket) -> None:
        """The client is gone, or says what none does."""
        self.events.unregister(connection)
        connection.close()
        _end(pid)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A client's order and its terminal. Raises OSError, ValueError for what is none of ours."""
    connection.settimeout(5)
    who = array.array("i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED_INTS * 4))
    if who[1] != os.getuid():
        raise ValueError("somebody else's client")
    text, terminal, _, _ = socket.recv_fds(connection, 65536, TERMINAL)
    try:
        while not text.endswith(b"\n") and len(text) < MAX_ORDER and (more := connection.recv(65536)):
            text += more
        return _order(text, terminal), terminal
    except BaseException:
        for fd in terminal:
            os.close(fd)
        raise


def _order(text: bytes, terminal: Sequence[int]) -> dict[str, Any]:
    order = json.loads(text)
    if len(terminal) != TERMINAL or set(order) != {"argv", "cwd", "env"}:
        raise ValueError("not an order")
    return dict(order)


def _play(order: Mapping[str, Any], terminal: Sequence[int]) -> None:
    """In the child: become what the client would have been. Does not return."""
    code = 1
    try:
        _become_a_play()
        for number, fd in enumerate(terminal):
            os.dup2(fd, number)
        os.closerange(TERMINAL, MAX_FD)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = list(order["argv"])
        code = _ansible(sys.argv)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # what this process has registered for its own end is not the play's to do


def _become_a_play() -> None:
    os.setsid()
    step_back(os.getpid(), TOOL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kernel = ctypes.CDLL(None)
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    kernel.prctl(PR_SET_NAME, NAME, 0, 0, 0)


def folder_of(process: psutil.Process) -> Path | None:
    """The folder in which a forked play is at work; None for every other process. Raises psutil.Error."""
    return Path(process.cwd()) if process.name() == NAME.decode() else None


def _ansible(argv: list[str]) -> int:
    """Play; Ansible's settings were read when its constants were loaded, in another environment."""
    from ansible import constants
    from ansible.cli import playbook

    for setting in constants.config.get_configuration_definitions():
        constants.set_constant(setting, constants.config.get_config_value(setting, variables=vars(constants)), vars(constants))
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    try:
        playbook.main(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


def _end(pid: int) -> None:
    """A play, and all that it started: its workers leave its process group."""
    try:
        play = psutil.Process(pid)
        family = [play, *play.children(recursive=True)]
    except psutil.Error:
        return
    for process in family:
        kill(process)


def kill(process: psutil.Process) -> bool:
    """Whether there was something to kill; a number that was used again is not the same process to psutil."""
    try:
        process.kill()
    except psutil.Error:
        return False
    return True


def _tell(connection: socket.socket, code: int) -> None:
    try:
        connection.sendall(b"%d\n" % code)
    except OSError:
        return  # the client has ended meanwhile


def _load() -> None:
    """Import all that a play needs, read what it would parse (0.2 s of YAML), and let the children share it."""
    importlib.import_module("ansible.cli.playbook")
    for name in MODULES:
        importlib.import_module(name)
    from ansible.plugins import loader

    loader.init_plugin_loader()
    importlib.import_module("ansible_collections.ansible.builtin")  # its table of modules
    for plugins in (loader.connection_loader, loader.shell_loader, loader.become_loader):
        list(plugins.all(class_only=True))  # their options
    gc.collect()
    gc.freeze()


def main() -> None:
    """The process itself; its arguments are two open descriptors: where clients come, and the controller's life."""
    listener, lifeline = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with the controller
    plays = _Plays()
    _load()
    try:
        plays.serve(listener, lifeline)
    finally:
        plays.end_all()


if __name__ == "__main__":
    main()
