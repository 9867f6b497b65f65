"""Processes found by a mark on their command line. Owns finding, checking and ending them, not what they run.

A process number alone proves nothing: the process may be gone and the number another's. So each machine has
``guest=cumulus.<installation>.<worker>`` on its command line (and the NFS server its configuration's path), and is
signalled through a handle (pidfd) that was opened before the mark was checked.
"""

import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TERM_GRACE_S = 5.0
GUEST = "guest=cumulus."


@dataclass(frozen=True)
class GuestName:
    """The name of a machine's process."""

    server_id: str
    worker: str

    @property
    def argument(self) -> str:
        """The value of QEMU's ``-name``; the kernel keeps 15 characters of the process's own name."""
        return f"{self.mark}process=cumulus-{self.worker}"

    @property
    def mark(self) -> str:
        """How an argument of this machine, and of no other, begins."""
        return f"{GUEST}{self.server_id}.{self.worker},"


def find_process(mark: str) -> int | None:
    """The number of a living process with an argument that begins with ``mark``; None where there is none."""
    return next((pid for pid, _ in _marked(mark)), None)


def guests_of(server_id: str) -> dict[str, int]:
    """Worker -> process number of every machine of this installation that lives, whoever started it."""
    start = f"{GUEST}{server_id}."
    return {argument.removeprefix(start).partition(",")[0]: pid for pid, argument in _marked(start)}


def carries(pid: int, mark: str) -> bool:
    """Whether the process lives and carries the mark; a zombie has no command line and so does not."""
    return any(argument.startswith(mark) for argument in _arguments(pid))


def end_process(pid: int, mark: str, grace_s: float = TERM_GRACE_S) -> None:
    """End the process and return when it is gone; does nothing where ``pid`` is another's by now."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not carries(pid, mark):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, number)
            if wait_gone(handle, grace_s):
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def wait_gone(handle: int, limit_s: float) -> bool:
    """Whether the process behind the pidfd ends within ``limit_s`` seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(limit_s * 1000))


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            yield from ((pid, argument) for argument in _arguments(pid) if argument.startswith(mark))


def _arguments(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
