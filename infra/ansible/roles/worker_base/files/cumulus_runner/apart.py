"""A long check in a process of its own, as the app's user: several files are checked at once, each on a processor."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.inspection import Fault, Finding, Progress, inspect
from cumulus_runner.programs import Account, Attendance, Program, StopRequest, environment

CHUNK = 1024 * 1024  # bytes for which the other process says a byte
LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START = "import sys; sys.path.insert(0, sys.argv[1]); from cumulus_runner.apart import main; main(*sys.argv[2:])"


def inspect_apart(path: str, name: str, progress: Progress, folder: str, user: Account | None, stop: StopRequest) -> Finding:
    """As :func:`cumulus_runner.inspection.inspect`, in another process. Raises StageFailed, too, where that one breaks off."""
    command = (sys.executable, "-ISs", "-c", START, LIBRARY, path, name)
    said = bytearray()

    def hear(data: bytes) -> None:
        with suppress(Stopped):  # who attends the process ends it
            progress(len(data) * CHUNK)

    code = Attendance(Program(command, folder, environment(folder, user), user), stop, (said.extend, hear)).wait()
    if stop.made:
        raise Stopped
    try:
        answer = json.loads(said)
    except ValueError:
        raise StageFailed(f"{name} could not be checked: the check ended with exit code {code}", stage="input") from None
    if "fault" in answer:
        raise Fault(answer["fault"])
    if "error" in answer:
        raise OSError(*answer["error"])
    return Finding(**{**answer, "features": frozenset(answer["features"]), "warnings": tuple(answer["warnings"])})


def main(path: str, name: str) -> None:
    """In the other process: a byte on stderr for each chunk, the answer on stdout."""
    heard = 0

    def tell(size: int) -> None:
        nonlocal heard
        heard += size
        os.write(2, b"." * (heard // CHUNK))
        heard %= CHUNK

    answer: dict[str, object]
    try:
        found = inspect(path, name, tell)
        answer = {**vars(found), "features": sorted(found.features)}
    except Fault as fault:
        answer = {"fault": str(fault)}
    except OSError as problem:
        answer = {"error": [problem.errno, problem.strerror]}
    sys.stdout.write(json.dumps(answer))
