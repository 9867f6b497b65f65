"""The agent's loop: begins what is due, in threads, and sleeps until the next thing is. Keeps no state of jobs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog
from peewee import DatabaseError

from agent.completion import Completion
from agent.queue.models import Transfer
from agent.queue.queue import Queue
from agent.queue.upkeep import DAY_S
from agent.sending.children import Children
from agent.sending.sender import Sender
from agent.settings import Settings
from agent.sources.surveyor import Surveyor
from agent.watcher import Watcher
from programs.database.sqlite import is_known

IDLE_S = 60.0
FAILURE_PAUSE_S = 5.0
WATCH_AGAIN_S = 0.1
JUMP_S = 30.0  # how far the computer's clock may be off from the time that passed, before it counts as set
T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True)
class Tasks:
    """The parts that do what the loop begins. ``children``: the processes that they have at work."""

    sender: Sender
    surveyor: Surveyor
    completion: Completion
    watcher: Watcher
    children: Children


class Loop:
    """Sends, inspects sources and completes jobs, each in a pool of its own, so that a slow transfer delays nothing else."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        tasks: Tasks,
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._tasks = tasks
        self._clock = clock
        self._steady = steady
        self._last = (clock(), steady())
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._senders = ThreadPoolExecutor(settings.parallel, "send")
        self._others = ThreadPoolExecutor(3, "errand")
        self._sending: set[Future[None]] = set()
        self._survey: Future[None] | None = None
        self._end: Future[None] | None = None
        self._watch: Future[None] | None = None
        self._watch_at = 0.0
        self._forget_at = 0.0

    def wake(self) -> None:
        """Look again now: something was ordered."""
        self._wake.set()

    def cancel(self, owner: str, number: int) -> bool:
        """Send no more of an owner's job; whether there was one. What is under way for it alone ends now."""
        found, stopped = self._queue.jobs.cancel(owner, number, self._clock())
        self._tasks.children.end(stopped)
        self.wake()
        return found

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._stopped.is_set():
            try:
                pause = self.tick()
            except DatabaseError as problem:
                if not is_known(problem):
                    log.exception("a round of the loop failed")
                else:  # busy, a full disk, the file is gone: it may pass, and is no fault of ours
                    log.warning("the queue cannot be used", detail=str(problem))
                pause = FAILURE_PAUSE_S
            except Exception:
                log.exception("a round of the loop failed")
                pause = FAILURE_PAUSE_S
            self._wake.wait(pause)
            self._wake.clear()

    def stop(self) -> None:
        """Stop: what is under way ends in order, and continues at the next start."""
        self._stopped.set()
        self.wake()
        self._tasks.children.close()
        self._senders.shutdown(cancel_futures=True)
        self._others.shutdown(cancel_futures=True)

    def tick(self) -> float:
        """Begin all that is due; the seconds until the next thing is."""
        now = self._clock()
        self._adjust_clock(now)
        self._begin_survey(now)
        self._begin_ends(now)
        self._begin_sends(now)
        watch = self._begin_watch(now)
        if now >= self._forget_at:
            self._forget_at = now + DAY_S / 24
            self._queue.upkeep.forget(now - self._settings.keep_days * DAY_S)
        due = self._queue.upkeep.next_time(now)
        return max(0.01, min([IDLE_S, *(time - now for time in (due, watch) if time is not None)]))

    def _adjust_clock(self, now: float) -> None:
        (then, steady_then), steady = self._last, self._steady()
        jump = (now - then) - (steady - steady_then)
        if abs(jump) > JUMP_S:
            log.warning("the computer's clock was set", seconds=round(jump))
            self._queue.upkeep.adjust_clock(jump)
            self._watch_at += jump
            self._forget_at += jump
        self._last = (now, steady)

    def is_idle(self) -> bool:
        """Whether nothing is at work."""
        return not self._sending and _is_over(self._survey) and _is_over(self._end) and _is_over(self._watch)

    def _begin_survey(self, now: float) -> None:
        if _is_over(self._survey) and (waiting := self._queue.transfers.to_survey(now)):
            self._survey = self._begin(self._others, self._tasks.surveyor.survey, waiting)

    def _begin_ends(self, now: float) -> None:
        if _is_over(self._end) and (jobs := self._queue.jobs.due(now)):
            self._end = self._begin(self._others, self._tasks.completion.end_all, jobs)

    def _begin_watch(self, now: float) -> float | None:
        """Have the controller asked, if it is time; when it is the next time, None where nothing is sent."""
        if not self._settings.controller or not (jobs := self._queue.jobs.under_way()):
            return None
        if now >= self._watch_at and _is_over(self._watch):
            self._watch_at = now + self._settings.watch_interval_s
            self._watch = self._begin(self._others, self._tasks.watcher.check, jobs)
        return max(self._watch_at, now + WATCH_AGAIN_S)

    def _begin_sends(self, now: float) -> None:
        self._sending = {one for one in self._sending if not one.done()}
        if not self._sending and (lost := self._queue.upkeep.recover(now, "its sender ended unexpectedly")):
            log.error("transfers were left behind by their sender", transfers=lost)
        while len(self._sending) < self._settings.parallel and (batch := self._queue.next_batch(now)):
            self._sending.add(self._begin(self._senders, self._send, batch))

    def _send(self, batch: list[Transfer]) -> None:
        if not self._stopped.is_set():
            self._tasks.sender.send(batch)

    def _begin(self, pool: ThreadPoolExecutor, work: Callable[[list[T]], None], rows: list[T]) -> "Future[None]":
        future = pool.submit(work, rows)
        future.add_done_callback(lambda _: self.wake())
        return future


def _is_over(future: "Future[None] | None") -> bool:
    return future is None or future.done()
