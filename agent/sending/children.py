"""Child processes of the agent: each in a session of its own, how it ends, and the end of those that a killed agent left.

What follows from an outcome is decided in sender.py.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from agent.errors import AgentError
from agent.sending.rsync_output import Item, Progress, Reader

MARK = "CUMULUS_AGENT_CHILD_OF"  # in the environment of all that an agent starts: its home
GRACE_S = 5.0
POLL_S = 0.02
EXIT_NOT_FOUND = 127  # as a shell's
SAID_LIMIT = 256 * 1024  # characters
READ_BYTES = 64 * 1024


class AgentEnds(AgentError):
    """The agent is shutting down; transfers continue when it starts again."""

    code = "agent_ends"


@dataclass(frozen=True)
class Command:
    """One run of rsync. ``names``: what to send of the folder, each a name in it; empty where the arguments say it all.

    ``descriptors``: what it gets to read beside its standard input.
    """

    argv: tuple[str, ...]
    names: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


@dataclass
class Outcome:
    """How a run ended: its exit code (negative: a signal), what became of each file by its path, and its standard error.

    ``answer``: what another program printed.
    """

    code: int
    items: dict[str, Item] = field(default_factory=dict)
    stderr: str = ""
    answer: str = ""


class Children:
    """The rsyncs of this agent that are at work."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._running: dict[subprocess.Popen[bytes], frozenset[int]] = {}
        self._closed = False

    def run(
        self, command: Command, transfers: Iterable[int] = (), on_event: Callable[[Item | Progress], None] = lambda _: None
    ) -> Outcome:
        """Run until it ends, or until :meth:`end` ends it; reports each event while it runs.

        Raises AgentEnds while the agent shuts down.
        """
        # With a dot before it: what begins with # or ; would be taken for a comment.
        names = b"".join(b"./" + os.fsencode(name) + b"\0" for name in command.names)
        outcome = Outcome(0)

        def read(child: "subprocess.Popen[bytes]") -> None:
            for event in _events(child):
                if isinstance(event, Item):
                    outcome.items[event.path] = event
                on_event(event)

        outcome.code, outcome.stderr = self._run(command, names, frozenset(transfers), read)
        return outcome

    def ask(self, command: Command, text: str, transfers: Iterable[int] = ()) -> Outcome:
        """Run another program with a text as its input; its output is in ``answer``. Raises AgentEnds."""
        outcome = Outcome(0)

        def read(child: "subprocess.Popen[bytes]") -> None:
            assert child.stdout is not None
            outcome.answer = child.stdout.read(SAID_LIMIT).decode(errors="replace")

        outcome.code, outcome.stderr = self._run(command, text.encode(), frozenset(transfers), read)
        return outcome

    def _run(
        self, command: Command, text: bytes, transfers: frozenset[int], read: Callable[["subprocess.Popen[bytes]"], None]
    ) -> tuple[int, str]:
        """The exit code and standard error."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(text)
            given.seek(0)
            try:
                child = self._start(command, given.fileno(), said.fileno(), transfers)
            except (FileNotFoundError, PermissionError):
                return EXIT_NOT_FOUND, f"{command.argv[0]}: command not found"
            try:
                read(child)
                code = child.wait()
            finally:
                self._finish(child)
            said.seek(0)
            return code, said.read(SAID_LIMIT).decode(errors="replace")

    def end(self, transfers: Iterable[int]) -> None:
        """End the runs that serve these transfers and no others; what they have sent stays for the next attempt."""
        unwanted = frozenset(transfers)
        with self._lock:
            found = [child for child, ids in self._running.items() if ids and ids <= unwanted]
        for child in found:
            end_group(child.pid)

    def close(self) -> None:
        """End all, and let none start."""
        with self._lock:
            self._closed = True
            found = list(self._running)
        for child in found:
            end_group(child.pid)
        end_orphans(self._home)  # the shared connection

    def _start(self, command: Command, stdin: int, stderr: int, transfers: frozenset[int]) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._closed:
                raise AgentEnds("the agent ends")
            child = subprocess.Popen(
                command.argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(self._home),
                start_new_session=True,
                pass_fds=command.descriptors,
            )
            self._running[child] = transfers
            return child

    def _finish(self, child: "subprocess.Popen[bytes]") -> None:
        if child.poll() is None:
            end_group(child.pid)
            child.wait()
        if child.stdout:
            child.stdout.close()
        with self._lock:
            self._running.pop(child, None)


def environment(home: Path) -> dict[str, str]:
    """An rsync's environment: no rsync settings of the user who started the agent, and the mark by which orphans are found."""
    kept = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8", MARK: str(home)}


def end_orphans(home: Path) -> list[int]:
    """End the child processes that a killed agent left on this home; returns their process numbers."""
    found = [process for process in psutil.process_iter() if _is_of(process, home)]
    _end_processes(found)
    return [process.pid for process in found]


def end_group(pid: int) -> None:
    """End a run: first politely, so that rsync keeps what it has received, then by force."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    _end_processes(family)


def _end_processes(processes: list[psutil.Process]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM):
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + GRACE_S
        while (processes := [one for one in processes if _is_at_work(one)]) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _is_at_work(process: psutil.Process) -> bool:
    """Not psutil's own wait, which would take a child's exit code from the thread that waits for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_of(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(home)
    except (psutil.Error, OSError):
        return False


def _events(child: "subprocess.Popen[bytes]") -> Iterator[Item | Progress]:
    reader = Reader()
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    while piece := os.read(descriptor, READ_BYTES):
        yield from reader.feed(piece)
    yield from reader.feed(b"\n")
