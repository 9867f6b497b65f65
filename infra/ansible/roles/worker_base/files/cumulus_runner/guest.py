"""The service that waits on a virtual machine for its job, started at boot and so part of a memory snapshot.

A job then costs neither a Python start nor a systemd unit, which on an emulated processor take a second together. Orders come as
lines through a named pipe, each is answered by a line through another (``cumulus-worker`` is at their other ends):
``<nonce> start <server> <port> <job folder>``, ``<nonce> stop`` or ``<nonce> status``, and ``<nonce> <ok|failed> <text>``.
A machine that was made for a job needs no order: a scout (scout.py) finds out what for, and when it can begin; an order ends it.
A job is a forked child. Until it has claimed its attempt, or cannot, other orders to start wait: only then is it certain what
there is to say.
"""

from __future__ import annotations

import os
import re
import resource  # noqa: F401 - read with the service, for the limits that a job's start sets
import selectors
import signal
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

from cumulus_runner import mounts, network
from cumulus_runner.errors import AlreadyStarted, RunnerError
from cumulus_runner.family import own_group
from cumulus_runner.folder import JobFolder
from cumulus_runner.given import JOB, PORT, SERVER, Given
from cumulus_runner.job import Job, take_up
from cumulus_runner.orders import Places
from cumulus_runner.programs import Account, limit_files
from cumulus_runner.scout import Scout, forked

PIPES = "/run/cumulus-job"
WORK = "/var/lib/cumulus/job"
LEASE = "/run/cumulus-lease"
BARRED = "/run/cumulus-stopped"  # after an order to stop, the job that the machine was made for is not started any more
MAX_ANSWER = 4000  # bytes
# What a job imports for a file of that kind: here it is imported before there is a job, and so part of a memory snapshot.
KINDS = ("fasta", "mgf", "mzml", "mzxml")
NEEDED_LATER = ("hashlib", "cumulus_runner.rewriting", *(f"cumulus_runner.inspection_{kind}" for kind in KINDS))
STOP = re.compile(r"(?P<nonce>\d+) stop")
STATUS = re.compile(r"(?P<nonce>\d+) status")
START = re.compile(rf"(?P<nonce>\d+) start (?P<server>{SERVER}) (?P<port>{PORT}) (?P<job>{JOB})")
STARTED = "started"  # how the child's word begins that it has claimed the attempt


def serve(user: Account | None, *, boot: bool = False) -> str:
    """Wait for orders until SIGTERM, which also ends a running job. ``boot``: start the job that this machine was made for.

    Raises RunnerError where apps cannot be shut in.
    """
    if user:  # this machine is the service's alone
        network.forbid_user_namespaces()
        user = replace(user, network=network.closed_network())
    service = Service(user, _pipe("orders"), _pipe("answers"))
    if boot:
        service.boot()
    else:
        service.prepare()
    return service.run()


class Service:
    """Takes orders, one job at a time. ``orders`` and ``answers``: open named pipes."""

    def __init__(self, user: Account | None, orders: int, answers: int) -> None:
        self._user = user
        self._orders = orders
        self._answers = answers
        self._rest = b""
        self._job = ""
        self._child = 0
        self._child_handle = -1
        self._nonce = ""  # of the order that the child was made for; "" where it was none
        self._outcome = -1  # a pipe: what became of that
        self._said = ("", "")  # and what it was
        self._begun = False
        self._is_concluded = True  # whoever ordered it has an answer
        self._ending = False
        self._starts: list[re.Match[str]] = []  # orders that wait for it
        self._stops: list[str] = []  # who waits for the job's end
        self._selector = selectors.DefaultSelector()
        self._selector.register(orders, selectors.EVENT_READ, self._read_orders)
        self._scout = Scout(self._selector, lambda given: self._start("", given), self._wait)

    def boot(self) -> None:
        """Start the job that the machine was made for; what becomes of that is told on the machine's console."""
        if os.path.exists(BARRED):
            _tell("this machine was told to stop")
            return
        self._scout.send()

    def _wait(self, why: str) -> None:
        _tell(why)
        self.prepare()

    def prepare(self) -> None:
        """Import what a job will need; while the machine boots, that would only hold it up."""
        for module in NEEDED_LATER:
            import_module(module)

    def run(self) -> str:
        """Serve until SIGTERM."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: os.read(wake_read, 64))
        while not (self._ending and not self._child):
            for key, _ in self._selector.select():
                key.data()
        return "ended"

    def _end(self) -> None:
        self._ending = True
        self._scout.end()
        self._end_job()

    def _end_job(self) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGTERM)

    def _read_orders(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._orders, 4096)).split(b"\n")
        self._rest = self._rest[-4096:]
        for line in lines:
            self._take(line.decode("ascii", "replace"))

    def _take(self, line: str) -> None:
        if stop := STOP.fullmatch(line):
            self._take_stop(stop["nonce"])
        elif status := STATUS.fullmatch(line):
            self._answer(status["nonce"], "ok", self._status())
        elif start := START.fullmatch(line):
            self._take_start(start)
        else:
            nonce = line.split(" ")[0]
            self._answer(nonce if nonce.isdigit() else "0", "failed", f"this is no order: {line[:100]!r}")

    def _status(self) -> str:
        if not self._child:
            return "starting" if self._scout.is_out else "idle"
        return f"running {self._job}" if self._begun else "starting"

    def _take_stop(self, nonce: str) -> None:
        with suppress(OSError):
            os.close(os.open(BARRED, os.O_WRONLY | os.O_CREAT, 0o644))
        self._scout.end()
        for start in self._starts:
            self._answer(start["nonce"], "failed", "the job was stopped")
        self._starts.clear()
        self._stops.append(nonce)
        self._end_job()
        self._answer_stops()

    def _take_start(self, order: re.Match[str]) -> None:
        if not self._child:
            self._scout.end()
            self._start(order["nonce"], Given(order["server"], int(order["port"]), order["job"], ""))
        elif not self._begun:
            self._starts.append(order)
        elif order["job"] == self._job:
            self._answer(order["nonce"], "ok", f"already started: {self._job}")
        else:
            self._answer(order["nonce"], "failed", f"this machine is at work for {self._job}")

    def _start(self, nonce: str, given: Given) -> None:
        self._outcome, outcome = os.pipe()
        self._nonce, self._job, self._begun, self._is_concluded = nonce, given.job, False, False
        self._child = forked(self._selector, lambda: self._work(given, outcome))
        os.close(outcome)
        self._child_handle = os.pidfd_open(self._child)
        self._selector.register(self._child_handle, selectors.EVENT_READ, self._child_ended)
        self._selector.register(self._outcome, selectors.EVENT_READ, self._hear_outcome)

    def _hear_outcome(self) -> None:
        """That the job has begun is told at once; that it cannot, when the child is gone: whoever orders again is not fooled."""
        if self._outcome < 0:
            return
        self._selector.unregister(self._outcome)
        said = os.read(self._outcome, MAX_ANSWER).decode("utf-8", "replace")
        os.close(self._outcome)
        self._outcome = -1
        state, _, text = said.partition(" ")
        self._said = (state, text) if said else ("failed", "the start was ended")
        if text.startswith(f"{STARTED} "):
            self._begun = True
            self._conclude_start()

    def _conclude_start(self) -> None:
        if self._nonce:
            self._answer(self._nonce, *self._said)
        else:
            _tell(self._said[1])
        self._is_concluded = True
        waiting, self._starts = self._starts, []
        for order in waiting:
            self._take_start(order)

    def _child_ended(self) -> None:
        self._hear_outcome()
        self._selector.unregister(self._child_handle)
        os.close(self._child_handle)
        os.waitpid(self._child, 0)
        self._child = 0
        _kill_rest()
        self._answer_stops()
        if not self._is_concluded:
            self._conclude_start()
        if not self._child:
            self.prepare()

    def _answer_stops(self) -> None:
        if self._child or not self._stops:
            return
        try:
            mounts.unmount_all()
            outcome = ("ok", "stopped")
        except OSError as problem:
            outcome = ("failed", f"the storage cannot be given back: {problem}")
        for nonce in self._stops:
            self._answer(nonce, *outcome)
        self._stops.clear()

    def _work(self, given: Given, outcome: int) -> int:
        """In the child: mount, claim the attempt, say so in the pipe ``outcome``, run the job; or say why that cannot be."""
        job = None
        try:
            job = self._claim(given)
            text = f"ok {STARTED} {given.job}"
        except AlreadyStarted as known:
            text = f"ok already started: {known}"
        except RunnerError as problem:
            text = f"failed {problem}"
        except Exception as problem:  # noqa: BLE001 - who ordered waits for an answer
            text = f"failed fault in the runner: {type(problem).__name__}: {problem}"
        os.write(outcome, text.encode("utf-8", "replace")[:MAX_ANSWER])
        os.close(outcome)
        if job:
            job.run()
        return 0

    def _claim(self, given: Given) -> Job:
        """Raises AlreadyStarted, RunnerError."""
        mounts.mount_storage(given.server, given.port)
        folder, server = mounts.show_job(given.job), mounts.address(given.server)
        shown = {"shown_job": mounts.JOB, "data": mounts.DATA, "work": WORK}
        places = Places(folder, **shown, lease=LEASE, group=own_group(), server=server)
        mounts.hide_writable_job()
        if given.worker and JobFolder(folder).must_stop():  # nobody waits beside the machine who knows better
            raise RunnerError(f"{given.job} is not wanted any more")
        job = take_up(places, self._user, given.worker)
        limit_files(WORK)
        return job

    def _answer(self, nonce: str, state: str, text: str) -> None:
        self._write(_line(nonce, state, text))

    def _write(self, line: bytes) -> None:
        with suppress(BlockingIOError):  # nobody has fetched the answers of hundreds of orders
            os.write(self._answers, line)


def _line(nonce: str, state: str, text: str) -> bytes:
    return f"{nonce} {state} {' '.join(text.split())}".encode("utf-8", "replace")[: MAX_ANSWER - 1] + b"\n"


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _kill_rest(proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> None:
    """End what a job has left in this service's control group: a program may leave its process group, but not this one."""
    with open(f"{proc}/self/cgroup", encoding="ascii") as file:
        own = "".join(line.split("::")[1].strip() for line in file if line.startswith("0::"))
    if not own.endswith(".service"):
        return
    with suppress(OSError), open(f"{groups}{own}/cgroup.procs", encoding="ascii") as file:
        for pid in [int(line) for line in file if int(line) != os.getpid()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pipe(name: str) -> int:
    """A named pipe that stays open: a reader that comes late finds what was written before."""
    path = os.path.join(PIPES, name)
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
