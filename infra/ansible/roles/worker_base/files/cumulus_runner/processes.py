"""Processes that outlive who started them: a number and a start time in a file, so that a number used again harms nobody."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress


def describe(pid: int) -> str:
    """The process as a line for a file. Raises OSError where there is none."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(pid)
    return f"{pid} {fields[19].decode()}\n"


def recorded(path: str) -> int | None:
    """The process of a file that was written with :func:`describe`, if that very process lives."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
        pid = int(text.split()[0])
        return pid if describe(pid) == text else None
    except (OSError, ValueError, IndexError):
        return None


def end(path: str, grace_s: float) -> bool:
    """End the recorded process: asked, and after ``grace_s`` seconds forced. Whether there was one."""
    pid = recorded(path)
    if pid is None:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if select.select([handle], [], [], limit_s)[0]:
                break
    finally:
        os.close(handle)
    return True
