"""Searching with regular expressions of an app's author, within a time limit.

Python's matcher may take longer than the age of the world, holds all threads up meanwhile and cannot be interrupted. So a child
process searches, and is ended where it takes too long.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any, Callable

LIMIT_S = 60.0
CHUNK = 64 * 1024


class TooSlow(Exception):
    """The search was not over in time."""


def bounded(search: Callable[[], Any], limit_s: float = LIMIT_S, *, directly: bool = False) -> Any:
    """What ``search`` returns (as JSON knows it). ``directly``: it is known to be quick, no process is made for it.

    Raises TooSlow after ``limit_s`` seconds, RuntimeError where the search itself fails.
    """
    if directly:
        return search()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _search(search, read, write)
    os.close(write)
    try:
        answer = _answer(read, time.monotonic() + limit_s)
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not answer:
        raise RuntimeError("the search broke off")
    return json.loads(answer)


def _search(search: Callable[[], Any], read: int, write: int) -> None:
    """In the child: nothing here may take a lock that a thread of the parent had."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.close(read)
        data = json.dumps(search()).encode()
        while data:
            data = data[os.write(write, data) :]
        code = 0
    finally:
        os._exit(code)


def _answer(read: int, deadline: float) -> bytes:
    """All that the child writes before it ends. Raises TooSlow."""
    parts = []
    while True:
        if not select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TooSlow
        part = os.read(read, CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
