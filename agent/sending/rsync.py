"""rsync as a child process: its command line, its run in a session of its own, its end, the end of one that an agent left.

Owns how rsync is called. Which files, and what follows from an outcome, is the sender's matter.
"""

import os
import shutil
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
from agent.sending.rsync_output import FORMAT, Item, Progress, Reader
from agent.sending.staging import Load
from agent.sending.target import Kind, Target
from agent.settings import Settings
from agent.sources.paths import for_rsync
from agent.sources.skipping import FILTERS

PARTIAL = ".cumulus.partial"
MARK = "CUMULUS_AGENT_CHILD_OF"  # in the environment of all that an agent starts: its home
GRACE_S = 5.0
LOOK_S = 0.02
SHARED_S = 60
MAX_SOCKET_PATH = 85  # bytes: of the system's 107, less what ssh adds while it makes the socket
EXIT_NOT_FOUND = 127  # as a shell's
CONNECT_S = 20
# At the end, when what was kept of broken attempts has been used; it is not spared, as rsync would do by itself.
_EXACT = ("--delete-after", f"--filter=risk {PARTIAL}/")
SAID_LIMIT = 256 * 1024  # characters
READ_BYTES = 64 * 1024


class AgentEnds(AgentError):
    """No transfer begins any more; it goes on when the agent is started again."""

    code = "agent_ends"


@dataclass(frozen=True)
class Command:
    """One run of rsync. ``names``: what is sent of the folder, each a name in it; none: the arguments tell all.

    ``descriptors``: what it gets to read beside its standard input.
    """

    argv: tuple[str, ...]
    names: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


@dataclass
class Outcome:
    """How a run ended: exit code (negative: a signal), what became of each file by its path, what rsync said of errors.

    ``told``: what another program answered.
    """

    code: int
    items: dict[str, Item] = field(default_factory=dict)
    said: str = ""
    told: str = ""


class Rsync:
    """The command lines for one target."""

    def __init__(self, settings: Settings, target: Target) -> None:
        self._settings = settings
        self._target = target

    def send(self, load: Load, place: str, *, checksum: bool = False) -> Command:
        """Send files or folders to a place, so that its folders have what these have and no more.

        ``checksum``: compare contents, not size and time, with what is there.
        """
        options = [f"--partial-dir={PARTIAL}", "--info=progress2", *_EXACT, *self._limits()]
        options += ["--checksum"] if checksum else []
        # Several large transfers at once are faster each on a connection of its own.
        return self._of_names(options, load, place, shared=self._settings.parallel == 1)

    def look(self, load: Load, place: str) -> Command:
        """Tell which of the names are not in a place yet, and change nothing."""
        return self._of_names(["--dry-run", "--ignore-existing", "--no-recursive", "--dirs"], load, place)

    def link(self, load: Load, place: str, upload: str, *, replace: bool) -> Command:
        """Give what lies in an upload's folder its names, as hard links: where no other program can do that (a daemon)."""
        return self._of_names([f"--link-dest={upload}", *(_EXACT if replace else ["--ignore-existing"])], load, place)

    def discard(self, empty: str, place: str, upload: str) -> Command:
        """Remove an upload's folder from a place, by making the place as an empty folder is, with all else in it spared."""
        only = [f"--include=/{upload}/***", "--exclude=*"]
        argv = [*self._program(), "--recursive", "--delete", *only, *self._way(), "--", for_rsync(empty).rstrip("/") + "/"]
        return Command((*argv, self._target.at(place) + "/"))

    def compare(self, load: Load, place: str, *, shared: bool = True) -> Command:
        """Compare by checksums of both sides, and change nothing; what a folder there has beside is told as deleted."""
        return self._of_names(["--dry-run", "--checksum", *_EXACT], load, place, shared=shared)

    def put(self, file: Path, path: str) -> Command:
        """Put one small file under a path in the storage."""
        argv = [*self._program(), "--times", *self._limits(), *self._way(), "--", for_rsync(str(file)), self._target.at(path)]
        return Command(tuple(argv))

    def _of_names(self, options: list[str], load: Load, place: str, *, shared: bool = True) -> Command:
        argv = [
            *self._program(),
            "--recursive",
            "--times",
            "--no-relative",  # the names go into the place itself
            "--files-from=-",
            "--from0",
            "--no-whole-file",  # also between two folders of this computer what is there already is not written again
            "--no-inc-recursive",
            "--no-human-readable",
            "-ii",
            f"--out-format={FORMAT}",
            *options,
            *(["--copy-links"] if load.follow else FILTERS),  # after what a former attempt's leftovers are not spared by
            *self._way(shared=shared),
            "--",
            for_rsync(load.folder).rstrip("/") + "/",
            self._target.at(place) + "/",
        ]
        return Command(tuple(argv), load.names, load.descriptors)

    def _program(self) -> list[str]:
        # Readable for the controller and its machines, whatever the source's rights were.
        return [self._settings.rsync, "--chmod=Du=rwx,Dgo=rx,Fu=rw,Fgo=r"]

    def _limits(self) -> list[str]:
        options = ["--fsync"] if self._settings.fsync else []
        return options + ([f"--bwlimit={self._settings.bwlimit_kib}"] if self._settings.bwlimit_kib else [])

    def _way(self, *, shared: bool = True) -> list[str]:
        """``shared``: by the one connection to the target that all short runs use."""
        options = [f"--timeout={self._settings.timeout_s}"]
        if self._target.kind is Kind.SSH:
            options += ["--rsh", " ".join(map(_rsh_word, ssh_command(self._settings, shared=shared)))]
        if self._target.kind is Kind.DAEMON:
            options += [f"--contimeout={CONNECT_S}"]
            if self._settings.password_file:
                options += [f"--password-file={for_rsync(str(self._settings.password_file))}"]
        return options


def ssh_command(settings: Settings, *, shared: bool = False) -> list[str]:
    """The ssh with the agent's own key and the one host key that it believes; nobody's configuration is read, nobody is asked.

    ``shared``: the first opens a connection that stays for a minute, and the others use it: a job needs three logins, each of
    which costs a good part of a second. Not on Windows, whose Cygwin cannot hand a connection on.
    """
    path = settings.home / "ssh"
    sharing = {"ControlPath": "none"}
    if shared and sys.platform != "win32" and len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        sharing = {"ControlMaster": "auto", "ControlPath": f'"{path}"', "ControlPersist": str(SHARED_S)}
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_S),
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "UserKnownHostsFile": f'"{for_rsync(str(settings.known_hosts))}"',
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "LogLevel": "ERROR",
        **sharing,
    }
    words = [settings.ssh, "-F", "none", "-T", "-p", str(settings.ssh_port), "-i", for_rsync(str(settings.ssh_key))]
    return words + [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _rsh_word(word: str) -> str:
    """A word of ``--rsh``, which rsync splits by itself: blanks count within quotes, a doubled quote is one."""
    return "'" + word.replace("'", "''") + "'"


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
        """Run to the end, which :meth:`end` can bring about; tells of each event while it runs.

        Raises AgentEnds where none may start any more.
        """
        # With a dot before it: what begins with # or ; would be taken for a comment.
        names = b"".join(b"./" + os.fsencode(name) + b"\0" for name in command.names)
        outcome = Outcome(0)

        def read(child: "subprocess.Popen[bytes]") -> None:
            for event in _events(child):
                if isinstance(event, Item):
                    outcome.items[event.path] = event
                on_event(event)

        outcome.code, outcome.said = self._run(command, names, frozenset(transfers), read)
        return outcome

    def ask(self, command: Command, text: str, transfers: Iterable[int] = ()) -> Outcome:
        """Run another program with a text as its input; what it answers is in ``told``. Raises AgentEnds."""
        outcome = Outcome(0)

        def read(child: "subprocess.Popen[bytes]") -> None:
            assert child.stdout is not None
            outcome.told = child.stdout.read(SAID_LIMIT).decode(errors="replace")

        outcome.code, outcome.said = self._run(command, text.encode(), frozenset(transfers), read)
        return outcome

    def _run(
        self, command: Command, text: bytes, transfers: frozenset[int], read: Callable[["subprocess.Popen[bytes]"], None]
    ) -> tuple[int, str]:
        """The exit code, and what was said on standard error."""
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
        """End the runs that are at work for these transfers and no others; what was sent stays for the next time."""
        unwanted = frozenset(transfers)
        with self._lock:
            found = [child for child, ids in self._running.items() if ids and ids <= unwanted]
        for child in found:
            end_group(child.pid)

    def close(self) -> None:
        """End all; none starts any more."""
        with self._lock:
            self._closed = True
            found = list(self._running)
        for child in found:
            end_group(child.pid)
        end_former(self._home)  # the shared connection

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
    """What an rsync gets to know: no settings of its own from whoever started the agent, and the mark to be found by."""
    kept = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8", MARK: str(home)}


def end_former(home: Path) -> list[int]:
    """End what an agent on this home has left at work when it was killed; their process numbers."""
    found = [process for process in psutil.process_iter() if _is_of(process, home)]
    _end_processes(found)
    return [process.pid for process in found]


def end_group(pid: int) -> None:
    """End a run: in order, so that rsync keeps what it has received; by force where that takes too long."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    _end_processes(family)


def version(program: str) -> str:
    """The first line that rsync tells of itself; "" where there is none."""
    if not shutil.which(program):
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.partition("\n")[0].strip()


def _end_processes(processes: list[psutil.Process]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM):
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + GRACE_S
        while (processes := [one for one in processes if _is_at_work(one)]) and time.monotonic() < deadline:
            time.sleep(LOOK_S)


def _is_at_work(process: psutil.Process) -> bool:
    """Not psutil's own wait, which would take a child's exit code from whoever started it."""
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
