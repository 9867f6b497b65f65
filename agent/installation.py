"""Which agent process runs on a home folder. Owns ``agent.lock`` and ``agent.json`` in it."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from agent.errors import AlreadyRunning, SetupMissing
from programs.errors import explained
from programs.regular import new_file, open_to_append, read_regular

MAX_NOTE_BYTES = 4096


@dataclass(frozen=True)
class Running:
    """An agent that answers. ``began``: when its process did (Unix seconds); another process may get its number."""

    pid: int
    began: float
    url: str


@contextmanager
def only_agent(home: Path) -> Iterator[None]:
    """Hold the home while the agent runs. Raises AlreadyRunning, SetupMissing; a killed agent holds nothing."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = open_to_append(home / "agent.lock")
    except OSError as problem:
        raise SetupMissing(f"the home folder {home} cannot be used: {explained(problem)}") from None
    with file as lock:
        try:
            _lock(lock)
        except OSError:
            other = running_agent(home)
            where = f" (process {other.pid}, {other.url})" if other else ""
            raise AlreadyRunning(f"an agent already runs on {home}{where}") from None
        yield


@contextmanager
def announced(home: Path, url: str) -> Iterator[None]:
    """Tell other commands on this computer where the agent answers, while it does."""
    path = home / "agent.json"
    beside = home / "agent.json.new"
    with new_file(beside) as file:
        file.write(json.dumps(asdict(Running(os.getpid(), psutil.Process().create_time(), url))))
    beside.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running_agent(home: Path) -> Running | None:
    """The agent that answers on this home; None where there is none."""
    try:
        found = Running(**json.loads(read_regular(home / "agent.json", MAX_NOTE_BYTES)))
        alive = psutil.Process(found.pid).create_time() == found.began
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return found if alive and isinstance(found.url, str) else None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
