"""Who has locked a workspace's state. Owns reading that, ending a holder in order, and clearing away what a dead one left.

Terraform locks the state file itself, with a record lock of the kernel, and leaves a note beside it
(``.terraform.tfstate.lock.info``, JSON) for whoever meets the lock. The kernel's lock ends with its process; the note may outlive
it, and blocks nothing then. So the kernel is asked who holds the lock, and the note only what it is held for.
"""

import fcntl
import json
import os
import signal
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import InfrastructureError
from server.workers.machine_locks import FLOCK

NOTE_LIMIT = 100_000  # bytes
WORD_LIMIT = 100  # characters of a note that are shown
INTERRUPT_GRACE_S = 15.0
KILL_GRACE_S = 5.0
POLL_S = 0.05
_PREFIX = "OperationType"
NOBODY_HERE = 0


class StillLocked(InfrastructureError):
    """Somebody has locked the state and keeps the lock."""

    code = "still_locked"


@dataclass(frozen=True)
class Lock:
    """A state's lock, or what is left of one.

    ``operation``, ``who``: Terraform's note, "" where there is none; ``since``: Unix seconds. ``pid``: the process that holds it,
    0 where that has no number on this computer, None where nobody holds it any more and it blocks nothing.
    """

    operation: str
    who: str
    since: float
    pid: int | None

    @property
    def is_held(self) -> bool:
        """Whether it keeps others from the state."""
        return self.pid is not None


def read_lock(state: Path) -> Lock | None:
    """The lock of the state file; None where nobody holds one and none is left."""
    pid = _holder(state)
    note = _note(state)
    since = _written(note) or (_written(state) if pid is not None else None)
    if since is None:
        return None
    fields = _read(note)
    return Lock(_word(fields.get("Operation")).removeprefix(_PREFIX).lower(), _word(fields.get("Who")), since, pid)


def clear(state: Path) -> None:
    """Remove the note of a lock whose process is gone. Raises StillLocked where somebody holds it."""
    if (pid := _holder(state)) is not None:
        raise StillLocked(f"the state is locked again, by process {pid}")
    _note(state).unlink(missing_ok=True)


def end_holder(state: Path, interrupt_grace_s: float = INTERRUPT_GRACE_S) -> None:
    """End the process that holds the lock: Terraform writes its state at an interrupt; it is killed only if it does not go.

    Whom to signal is asked anew each time: a number may become another process's. Raises StillLocked.
    """
    for number, grace_s in ((signal.SIGINT, interrupt_grace_s), (signal.SIGKILL, KILL_GRACE_S)):
        pid = _holder(state)
        if pid is None:
            return
        if pid == NOBODY_HERE:
            raise StillLocked("whoever holds the lock is no process of this computer: end it where it runs")
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise StillLocked(f"process {pid} is another user's and cannot be ended") from None
        _await_release(state, pid, grace_s)
    if (pid := _holder(state)) is not None:
        raise StillLocked(f"process {pid} does not end")


def _await_release(state: Path, pid: int, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while _holder(state) == pid and time.monotonic() < end:
        time.sleep(POLL_S)


def _holder(state: Path) -> int | None:
    """Who would keep a terraform from locking the file, by the kernel's word; 0: somebody without a number here."""
    try:
        handle = os.open(state, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:  # no file that could be locked
        return None
    finally:
        os.close(handle)
    kind, _, _, _, pid = FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else max(pid, NOBODY_HERE)


def _note(state: Path) -> Path:
    return state.with_name(f".{state.name}.lock.info")


def _written(path: Path) -> float | None:
    """When a regular file was written last; None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_mtime if stat.S_ISREG(found.st_mode) else None


def _read(note: Path) -> dict[str, Any]:
    """What the note says; empty where it is none."""
    with suppress(OSError, ValueError, RecursionError):
        handle = os.open(note, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            found = json.loads(file.read(NOTE_LIMIT))
        return found if isinstance(found, dict) else {}
    return {}


def _word(value: object) -> str:
    """Text of somebody else, fit for any terminal."""
    text = value if isinstance(value, str) else ""
    return "".join(char if char.isprintable() else "?" for char in text[:WORD_LIMIT])
