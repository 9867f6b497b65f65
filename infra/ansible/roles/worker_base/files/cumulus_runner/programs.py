"""Running programs: each in a process group of its own, as the app's user, with an end that leaves nothing behind.

Owns starting, attending and ending them. What they print goes to whoever takes it.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable

from cumulus_runner.network import OPEN, entered
from cumulus_runner.watch import CROWDED, STALLED, Watch

__all__ = ["CROWDED", "LATE", "STALLED", "Account", "Attendance", "Program", "StopRequest", "Watch", "account", "environment"]

LATE = "late"
TASKS_SPARE = 8  # the kernel's limit is higher by this part: who watches sees the app reach its own
GRACE_S = 10.0
REST_S = 2.0  # what a program leaves in its pipes when it ends is there at once
CHUNK = 64 * 1024
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Reader = Callable[[bytes], None]


@dataclass(frozen=True)
class Account:
    """Who a program runs as. ``network``: a handle of the network that it is in (network.py)."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    network: int = OPEN


def account(name: str) -> Account:
    """The user of that name. Raises KeyError."""
    import pwd

    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def environment(temp: str, user: Account | None) -> dict[str, str]:
    """All that a program finds in its environment: nothing of the runner's own."""
    name = user.name if user else os.environ.get("USER", "cumulus")
    own = {"HOME": temp, "TMPDIR": temp, "USER": name, "LOGNAME": name}
    return {"PATH": PATH, "LANG": "C.UTF-8", "SHELL": "/bin/sh", "TERM": "dumb", **own}


def limit_tasks(count: int, user: Account | None) -> None:
    """Limit the processes and threads of what is started from now on: an app that makes ever more must not end the machine.

    ``count``: 0 for any number. The kernel counts by user and leaves root alone, so the runner itself keeps its freedom.
    """
    if count and user and user.uid:
        import resource

        spare = count // TASKS_SPARE
        with suppress(OSError, ValueError):  # a lower limit of this machine stays
            resource.setrlimit(resource.RLIMIT_NPROC, (count + spare, count + spare))


def limit_files(folder: str) -> None:
    """From here on this process and its children make no file that is larger than the whole disk that the folder is on.

    A file of holes may claim any size, and whoever copies it would be at work for days.
    """
    import resource

    disk = os.statvfs(folder)
    size = disk.f_blocks * disk.f_frsize
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class StopRequest:
    """A request to end, readable like a file so that it can be waited for together with programs' output."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.made = False
        self.why = ""

    def make(self, why: str = "") -> None:
        """Ask for the end; from any thread or signal handler, any number of times: the first counts."""
        if not self.made:
            self.made, self.why = True, why
            os.write(self._write, b"x")

    def fileno(self) -> int:
        """Readable for ever once the request was made."""
        return self._read

    def close(self) -> None:
        """Give the file handles back."""
        os.close(self._read)
        os.close(self._write)


class Program:
    """A program that runs. ``readers`` take what it prints on its outputs; where one is None, output goes to ``log``."""

    def __init__(
        self, command: Sequence[str], folder: str, env: Mapping[str, str], user: Account | None, log: int | None = None
    ) -> None:
        output = subprocess.PIPE if log is None else log
        rights = {"user": user.uid, "group": user.gid, "extra_groups": user.groups} if user else {}
        with entered(user.network if user else OPEN):
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                list(command),
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=0o022,
                bufsize=0,
                **rights,
            )
        self.pid: int = self._process.pid
        self.handle = os.pidfd_open(self.pid)
        # Where memory runs out, the app goes first and not who has to tell of it.
        with suppress(OSError), open(f"/proc/{self.pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")

    @property
    def outputs(self) -> tuple[int, int]:
        """The ends of its two pipes."""
        return self._process.stdout.fileno(), self._process.stderr.fileno()

    def signal(self, number: int) -> None:
        """Signal the whole group; its number is not used again before :meth:`close`."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def close(self) -> int:
        """Forget it; returns its exit code, minus the signal that ended it."""
        code: int = self._process.wait()
        os.close(self.handle)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        return code


class Attendance:
    """Waits for one program: takes its output, ends it when asked to, and what it left running after its end.

    ``outcome`` says after :meth:`wait` why it was ended, if its ``watch`` wanted that: STALLED or CROWDED, LATE after ``limit_s``
    seconds; else "". ``why``: the same in words.
    """

    def __init__(
        self,
        program: Program,
        stop: StopRequest,
        readers: tuple[Reader, Reader] | None = None,
        watch: Watch | None = None,
        limit_s: float = float("inf"),
    ) -> None:
        self.outcome = ""
        self.why = ""
        self._program = program
        self._stop = stop
        self._watch = watch
        self._limit = time.monotonic() + limit_s
        self._selector = selectors.DefaultSelector()
        self._selector.register(program.handle, selectors.EVENT_READ)
        self._selector.register(stop, selectors.EVENT_READ)
        self._open = set()
        if readers:
            for handle, reader in zip(program.outputs, readers):
                os.set_blocking(handle, False)
                self._selector.register(handle, selectors.EVENT_READ, reader)
                self._open.add(handle)

    def wait(self) -> int:
        """Returns the program's exit code, minus the signal that ended it."""
        deadline = float("inf")
        while not self._turn(min(deadline - time.monotonic(), self._due_s())):
            if deadline == float("inf"):
                deadline = self._ask_to_end()
            elif time.monotonic() >= deadline:
                self._program.signal(signal.SIGKILL)
                deadline = time.monotonic() + GRACE_S
        self._take_rest()
        self._selector.close()
        return self._program.close()

    def _ask_to_end(self) -> float:
        """Ask the program to end if there is a reason; until when it has time for that."""
        if not self._stop.made and not self._is_to_end():
            return float("inf")
        self._ignore_stop()
        if self.outcome == CROWDED:
            self._end_crowd()
        self._program.signal(signal.SIGTERM)
        self._program.signal(signal.SIGCONT)  # what is held still could not end
        return time.monotonic() + GRACE_S

    def _end_crowd(self) -> None:
        """At once: the group as a whole, in which nobody can start another one meanwhile, then what has left it."""
        self._program.signal(signal.SIGKILL)
        if self._watch:
            self._watch.family.kill()

    def _is_to_end(self) -> bool:
        if self._watch and (outcome := self._watch.look()):
            self.outcome, self.why = outcome, self._watch.why(outcome)
        elif time.monotonic() >= self._limit:
            self.outcome, self.why = LATE, "it took too long"
        return bool(self.outcome)

    def _due_s(self) -> float:
        """Seconds until somebody has to look at the program, though it does nothing."""
        if self.outcome or self._stop.made:
            return float("inf")
        return min(self._limit - time.monotonic(), self._watch.due_s() if self._watch else float("inf"))

    def _turn(self, limit_s: float) -> bool:
        """Take what is there; whether the program ended."""
        ended = False
        for key, _ in self._selector.select(None if limit_s == float("inf") else max(0.0, limit_s)):
            if key.fd == self._program.handle:
                ended = True
            elif key.data:
                self._read(key.fd, key.data)
        return ended

    def _take_rest(self) -> None:
        """End what the program left running, and take what is in the pipes until nobody holds them any more."""
        self._selector.unregister(self._program.handle)
        self._ignore_stop()
        if self._watch and not self.outcome and self._watch.left_a_bomb():
            self.outcome, self.why = CROWDED, self._watch.why(CROWDED)
            self._end_crowd()
        self._program.signal(signal.SIGTERM)
        deadline = time.monotonic() + REST_S
        while self._open and (left := deadline - time.monotonic()) > 0:
            self._turn(left)
        self._program.signal(signal.SIGKILL)
        if self._watch:
            self._watch.family.kill()

    def _ignore_stop(self) -> None:
        if self._stop in self._selector.get_map():
            self._selector.unregister(self._stop)

    def _read(self, handle: int, reader: Reader) -> None:
        try:
            data = os.read(handle, CHUNK)
        except BlockingIOError:
            return
        if data:
            if self._watch:
                self._watch.heard()
            reader(data)
        else:
            self._selector.unregister(handle)
            self._open.discard(handle)


def is_short_of_space(folder: str) -> bool:
    """Whether the disk under a folder has no room left to speak of."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize < CHUNK * 16 or (found.f_files > 0 and found.f_favail == 0)
