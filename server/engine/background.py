"""Steps that block run here, on a bounded pool beside the loop, each at most once at a time.

Owns which steps are at work. A step is known by its worker's number, or by a name where it belongs to no worker. Owns also
whether loop and steps can use the database.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import structlog

from programs.database.sqlite import is_damaged, is_of_the_file
from server.db.errors import DatabaseDamaged, DatabaseLost, DatabaseUnusable, unusable
from server.db.models import Worker
from server.settings import Settings

Key = int | str
log = structlog.get_logger()


class DatabaseHealth:
    """Whether one controller can use its database. ``damage``: what is wrong with it, until a turn of the loop succeeds."""

    def __init__(self) -> None:
        self.damage: DatabaseDamaged | DatabaseLost | DatabaseUnusable | None = None

    def failed(self, problem: Exception, **fields: object) -> None:
        """Log one line: the database is busy or its disk full, which may pass; or it is damaged, which is remembered."""
        if is_damaged(problem):
            damage = unusable(problem)
            log.error("the database cannot be used", code=damage.code, detail=damage.message, **fields)
            self.damage = damage
        else:
            log.warning("the database cannot be used", detail=str(problem), **fields)

    def succeeded(self) -> None:
        """A turn of the loop has succeeded."""
        self.damage = None


class Background:
    """The pool of one controller. ``changed`` is set whenever a step has ended."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._retry_delay_s = settings.retry_delay_s
        self._clock = clock
        self._executor: Executor = ThreadPoolExecutor(settings.parallel_steps, thread_name_prefix="step")
        self._at_work: dict[Key, Future[None]] = {}
        self._stopping = threading.Event()
        self.changed = threading.Event()
        self.health = DatabaseHealth()

    def begin(self, key: Key, step: Callable[..., None], *arguments: object) -> None:
        """Run the step, unless one of that key is at work, or the pool is stopping."""
        if not self.may_begin(key):
            return
        future = self._executor.submit(step, *arguments)
        self._at_work[key] = future
        future.add_done_callback(lambda ended: self._ended(key, ended))

    def may_begin(self, key: Key) -> bool:
        """Whether a step of that key would be run."""
        return key not in self._at_work and not self.is_stopping()

    def is_stopping(self) -> bool:
        """Whether no more steps begin."""
        return self._stopping.is_set()

    def is_idle(self) -> bool:
        """Whether no step is at work or waits for a thread."""
        return not self._at_work

    def is_busy(self) -> bool:
        """Whether a step is running."""
        return any(future.running() for future in list(self._at_work.values()))  # steps leave meanwhile

    def stop(self) -> None:
        """Begin no more steps, and drop those that wait for a thread."""
        self._stopping.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def wait(self, is_over: Callable[[], bool]) -> bool:
        """Wait for the steps at work until ``is_over``; whether all have ended."""
        ended = threading.Event()
        for future in list(self._at_work.values()):
            future.add_done_callback(lambda _: ended.set())
        while self.is_busy() and not is_over():
            ended.wait(0.05)
            ended.clear()
        return not self.is_busy()

    def _ended(self, key: Key, ended: "Future[None]") -> None:
        self._at_work.pop(key, None)
        try:
            if not ended.cancelled() and (problem := ended.exception()):
                self._failed(key, problem)
        except Exception as error:
            if not is_of_the_file(error):
                raise
            self.health.failed(error)  # the pause could not be written: the step is only tried again sooner
        finally:
            self.changed.set()

    def _failed(self, key: Key, problem: BaseException) -> None:
        """Log it; a worker's step is tried again after a pause."""
        if isinstance(problem, Exception) and is_of_the_file(problem):
            self.health.failed(problem, step=key)
        else:
            log.error("a step failed unexpectedly", step=key, exc_info=problem)
        if isinstance(key, int):
            later = {"failures": Worker.failures + 1, "not_before": self._clock() + self._retry_delay_s}
            Worker.update(later).where(Worker.id == key).execute()
