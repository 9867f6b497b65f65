"""A forked child that finds out what a machine was made for, and comes back when that can be begun.

It claims nothing, so it may be ended at any time. Owns the words by which it tells the service.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
from contextlib import suppress
from typing import Callable

from cumulus_runner.errors import RunnerError
from cumulus_runner.given import JOB, PORT, SERVER, WORKER, Given, await_disk, await_server, read_given

FOUND = re.compile(rf"(?P<server>{SERVER}) (?P<port>{PORT}) (?P<job>{JOB}) (?P<worker>{WORKER})")
MAX_WORD = 4000  # bytes


def forked(selector: selectors.BaseSelector, work: Callable[[], int]) -> int:
    """A child that does that and ends; its number. ``selector``: the parent's, in which the child hears nothing."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            selector.close()
            code = work()
        finally:
            os._exit(code)
    return child


class Scout:
    """``found`` hears the orders; where there are none that could be obeyed, ``failed`` hears why."""

    def __init__(self, selector: selectors.BaseSelector, found: Callable[[Given], None], failed: Callable[[str], None]) -> None:
        self._selector = selector
        self._tell_found = found
        self._tell_failed = failed
        self._child = 0
        self._word = -1

    @property
    def is_out(self) -> bool:
        """Whether it has neither come back nor been ended."""
        return self._child != 0

    def send(self) -> None:
        """Let it go."""
        self._word, word = os.pipe()
        self._child = forked(self._selector, lambda: _look(word))
        os.close(word)
        self._selector.register(self._word, selectors.EVENT_READ, self._hear)

    def end(self) -> None:
        """Nothing is heard of it any more."""
        if not self._child:
            return
        self._selector.unregister(self._word)
        os.close(self._word)
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._child = 0

    def _hear(self) -> None:
        if not self._child:  # it was ended while the word waited to be read
            return
        word = os.read(self._word, MAX_WORD).decode("utf-8", "replace")
        self.end()
        if found := FOUND.fullmatch(word):
            self._tell_found(Given(found["server"], int(found["port"]), found["job"], found["worker"]))
        else:
            self._tell_failed(word or "it is not known what this machine was made for")


def _look(word: int) -> int:
    try:
        given = read_given()
        if given:
            await_disk()
            await_server(given.server, given.port)
        text = f"{given.server} {given.port} {given.job} {given.worker}" if given else "this machine waits for orders"
    except Exception as problem:  # noqa: BLE001 - the console is where that is seen
        text = str(problem) if isinstance(problem, RunnerError) else f"fault in the runner: {type(problem).__name__}: {problem}"
    os.write(word, text.encode("utf-8", "replace")[:MAX_WORD])
    return 0
