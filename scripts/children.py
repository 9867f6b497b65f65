"""Processes that the demonstration starts and ends, known beyond its own life.

Owns how one is started so that it does not outlive the demonstration, how one is ended, and how one is recognised later: by its
number together with the moment of its start, for a number alone may be another's by now.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from pydantic import BaseModel, ConfigDict

from server.errors import CumulusError
from server.workers.clouds.qemu.process import PROC, wait_gone

BOOT_ID = PROC / "sys/kernel/random/boot_id"
STATE, START = 0, 19  # fields of /proc/PID/stat behind the program's name (proc(5) counts from 3)
KILL_LIMIT_S = 10.0
Child = subprocess.Popen[bytes]


class Process(BaseModel):
    """A process. ``ticks``: the clock ticks between the computer's boot and its start; ``boot``: which boot that was."""

    model_config = ConfigDict(frozen=True)

    pid: int
    ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The living process of that number; None where there is none, or only a zombie."""
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            return None if fields[STATE] in "ZX" else cls(pid=pid, ticks=int(fields[START]), boot=BOOT_ID.read_text().strip())
        except OSError:
            return None

    @classmethod
    def this(cls) -> Self:
        """The process that asks."""
        found = cls.of(os.getpid())
        assert found is not None
        return found

    @property
    def alive(self) -> bool:
        """Whether this process is still alive, and not another one with its number."""
        return self.of(self.pid) == self

    def end(self, limit_s: float) -> bool:
        """Ask it to end, and kill it after ``limit_s`` seconds; returns when it is gone: whether it had to be killed."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:  # checked after opening, so that the handle is of the process that was checked
                return False
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if wait_gone(handle, limit_s):
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            wait_gone(handle, KILL_LIMIT_S)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)


def start(command: Sequence[str], output: IO[str] | None = None, environment: dict[str, str] | None = None) -> Child:
    """Start a program in a session of its own, which no terminal signals. It is asked to end when this process dies.

    ``output``: where its output is written; None: where this program's own is.
    """
    watched = ["setpriv", "--pdeathsig", "TERM", *command] if shutil.which("setpriv") else list(command)
    return Child(
        watched,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def end(child: Child, name: str, limit_s: float) -> None:
    """End a child in order. Raises CumulusError where it had to be killed after ``limit_s`` seconds."""
    child.terminate()
    try:
        child.wait(limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise CumulusError(
            f"the {name} (process {child.pid}) did not end in {limit_s:.0f} s and was killed; `make clean` ends what it left"
        ) from None


def words(log: Path) -> str:
    """The last lines of a child's output, for a person."""
    try:
        return log.read_text(errors="replace")[-2000:].strip() or "it said nothing"
    except OSError:
        return "it said nothing"
