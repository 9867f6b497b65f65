"""The lock of an installation: one controller, or one command that must be alone, holds it. Owns ``controller.lock``."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from server.home.files import InTheWay, open_lock, open_own, read_own_text
from server.home.folder import LOCK_FILE, SMALL, HomeUnusable, make_home, unusable_text
from server.home.running import AlreadyRunning, running_controller

LOOKED_AT_S = 0.3  # a command that only asks holds the lock for a moment, see is_held
RETRY_S = 0.02
DYING_S = 10.0  # a killed process of some GB takes a moment to go
PF_EXITING = 0x4  # of a process, as the kernel counts


@contextmanager
def only_controller(home: Path) -> Iterator[IO[bytes]]:
    """Hold the installation while the controller runs; its lock, open. Raises AlreadyRunning, HomeUnusable.

    A killed controller holds nothing. One whose lock was removed or replaced still runs, and counts.
    """
    with _lock_file(home) as lock:
        until = time.monotonic() + LOOKED_AT_S
        is_dying = False
        while not try_lock(lock):
            if not is_dying and _is_dying(_holder_pid(home)):
                is_dying, until = True, time.monotonic() + DYING_S
            if time.monotonic() > until:
                raise AlreadyRunning(f"a controller already runs on {home}{_holder(home)}; `cumulus stop` ends it")
            time.sleep(RETRY_S)
        if (other := running_controller(home)) and other.pid != os.getpid() and not _is_dying(other.pid):
            raise AlreadyRunning(f"a controller already runs on {home}{_holder(home)}; `cumulus stop` ends it")
        sign(lock)
        yield lock


def sign(lock: IO[bytes]) -> None:
    """Write into the lock's file who holds it, which is only for people: the disk may be full."""
    with suppress(OSError):
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), f"{os.getpid()}\n".encode(), 0)


def _lock_file(home: Path) -> IO[bytes]:
    make_home(home)
    try:
        return open_lock(home / LOCK_FILE, seize=False)
    except InTheWay as problem:
        raise HomeUnusable(unusable_text(home, problem.message)) from None


def is_held(home: Path) -> bool:
    """Whether a controller, or a command that must be alone, has the installation; it may be starting or ending."""
    with suppress(OSError), open_own(home / LOCK_FILE) as lock:
        if not try_lock(lock, fcntl.LOCK_SH):
            return True
    return running_controller(home) is not None  # whose lock was removed, or is no file


def try_lock(lock: IO[Any], how: int = fcntl.LOCK_EX) -> bool:
    """Lock the open file, shared or alone, unless somebody else has; whether it is locked. The lock ends with the process."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(home: Path) -> str:
    """Who has the installation, as far as it is known, in brackets."""
    if other := running_controller(home):
        return f" (process {other.pid}, {other.url})"
    if pid := _holder_pid(home):
        return f" (process {pid}, which is starting or ending)"
    return ""


def _holder_pid(home: Path) -> int:
    """As the lock's file says; 0 where it says nothing."""
    with suppress(OSError, ValueError):
        return int(read_own_text(home / LOCK_FILE, SMALL))
    return 0


def _is_dying(pid: int) -> bool:
    """Whether the process was killed, and the kernel still gives back what it has: its files, and its locks, go last."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pending = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
        killed = any(int(line.split()[1], 16) & 1 << (signal.SIGKILL - 1) for line in pending)
        return killed or fields[0] in "ZX" or bool(int(fields[6]) & PF_EXITING)
    return False
