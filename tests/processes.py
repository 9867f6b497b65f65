"""What tests ask about processes that others may end meanwhile."""

import os
from contextlib import suppress
from pathlib import Path

import psutil


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty where it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it has not ended, collected or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_ended(pid: int) -> bool:
    """Whether the process with that number is no more, collected or not."""
    try:
        return not is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def descriptors(pid: int | None = None) -> set[str]:
    """What a process (by default this one) has open, by descriptor: ``7 pipe:[1234]``.

    Compare what is new, not how many there are: what earlier tests left in the same process may be collected at any moment.
    """
    found = set()
    for entry in Path(f"/proc/{pid or os.getpid()}/fd").iterdir():
        with suppress(OSError):  # the one that reads this folder
            found.add(f"{entry.name} {entry.readlink()}")
    return found
