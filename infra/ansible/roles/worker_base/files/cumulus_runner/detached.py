"""A job on this very computer, without a virtual machine: started so that it outlives its starter, and ended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from cumulus_runner import processes
from cumulus_runner.errors import AlreadyStarted, RunnerError
from cumulus_runner.job import Job, take_up
from cumulus_runner.orders import Places
from cumulus_runner.programs import GRACE_S, Account

STOP_LIMIT_S = GRACE_S + 5.0
STARTED = "started"
NICE = 5  # as a virtual machine of the same computer


def start(places: Places, user: Account | None, *, foreground: bool) -> str:
    """Start the job; returns what to tell. Raises AlreadyStarted, RunnerError.

    In the foreground this returns when the job has ended, otherwise as soon as it is certain that it will run.
    """
    if processes.recorded(_record(places.work)):
        raise AlreadyStarted("this work folder has a running job")
    if foreground:
        result = _claim(places, user).run()
        return f"{result.stage}, exit code {result.exit_code} {result.message}".rstrip()
    return _start_detached(places, user)


def stop(work: str) -> str:
    """End the job of a work folder and what is left of it; returns what to tell."""
    ended = processes.end(_record(work), STOP_LIMIT_S)
    with suppress(OSError), open(os.path.join(work, "app.pid"), encoding="ascii") as file:
        if processes.recorded(file.name):
            os.killpg(int(file.read().split()[0]), signal.SIGKILL)
    return "stopped" if ended else "nothing runs"


def status(work: str) -> str:
    """Whether the job of a work folder runs."""
    return "running" if processes.recorded(_record(work)) else "idle"


def _start_detached(places: Places, user: Account | None) -> str:
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as answer:
            text = answer.read()
        if text.startswith(STARTED):
            return text
        raise AlreadyStarted(text[1:]) if text.startswith("=") else RunnerError(text[1:] or "the runner ended at once")
    os.close(read)
    os.setsid()
    _step_back()
    _let_go()
    code = 1
    try:
        code = _run_detached(places, user, write)
    finally:
        os._exit(code)


def _run_detached(places: Places, user: Account | None, answer: int) -> int:
    try:
        job = _claim(places, user)
        os.chdir(places.work)
        os.write(answer, STARTED.encode())
    except AlreadyStarted as known:
        os.write(answer, f"={known}".encode("utf-8", "replace"))
        return 0
    except RunnerError as problem:
        os.write(answer, f"!{problem}".encode("utf-8", "replace"))
        return 1
    os.close(answer)
    job.run()
    return 0


def _claim(places: Places, user: Account | None) -> Job:
    job = take_up(places, user)
    with open(_record(places.work), "w", encoding="ascii") as file:
        file.write(processes.describe(os.getpid()))
    return job


def _step_back() -> None:
    """The controller is on this computer, too, and goes first. Where processors are shared out by session, that counts, too."""
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write(str(NICE))


def _let_go() -> None:
    """Hold nothing of who started this: a reader of its output would wait for the job's end."""
    null = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)


def _record(work: str) -> str:
    return os.path.join(work, "runner.pid")
