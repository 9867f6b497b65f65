"""People's commands on one template take turns: the second one says whom it waits for.

Owns a file beside the lock that says who has it. It only tells; the lock decides (locks.py).
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from server.errors import InfrastructureError
from server.home.files import read_own_text, remove_own, write_own
from server.workers.machine_locks import exclusive, is_held

WAIT_LIMIT_S = 3600.0
SHORT_LIMIT_S = 5.0
Say = Callable[[str], None]


@contextmanager
def turn(lock: Path, name: str, say: Say | None, now: Callable[[], float] = time.time) -> Iterator[None]:
    """Hold the lock of ``name`` in the file ``lock``, after whoever has it: waiting is said, or given up soon without ``say``.

    ``now``: Unix seconds. Raises InfrastructureError, which names who has it, after an hour, or five seconds without ``say``.
    """
    note = lock.with_suffix(".holder")
    if say and is_held(lock, name):
        say(f"{_holder(note)} is at work on the template or a snapshot: waiting for its end (Ctrl-C ends the waiting)")
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(lock, name, WAIT_LIMIT_S if say else SHORT_LIMIT_S))
        except InfrastructureError:
            raise InfrastructureError(f"{_holder(note)} is at work on the template or a snapshot") from None
        write_own(note, json.dumps({"pid": os.getpid(), "since": now()}), 0o644)
        held.callback(remove_own, note)
        yield


def _holder(note: Path) -> str:
    """Who has the lock, as far as it is known: the note may be about to be written, or be a killed process's."""
    try:
        known = json.loads(read_own_text(note))
        if psutil.pid_exists(pid := int(known["pid"])):
            return f"another command (process {pid}, since {time.strftime('%H:%M:%S', time.localtime(known['since']))})"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return "another command"
