"""When the duties of an installation are due that run beside its jobs: upkeep, sweeping, prewarming, writing manifests."""

from collections.abc import Callable, Sequence

import structlog

from programs.database.sqlite import is_of_the_file
from server.db.models import Worker
from server.db.queries import living_workers
from server.engine.background import Background
from server.engine.duties.image_prewarmer import ImagePrewarmer
from server.engine.duties.sweeper import Sweeper
from server.engine.duties.timekeeping import DAY_S, Timekeeper
from server.engine.duties.upkeep import Upkeep
from server.engine.records.manifests import Manifests
from server.errors import InfrastructureError
from server.settings import Settings

UPKEEP_INTERVAL_S = DAY_S + 60.0  # that really passed: what is old at two inspections in a row is old for a day
log = structlog.get_logger()


class Schedule:
    """That of one controller. ``on_missing`` is called for each living worker whose machine the cloud does not list."""

    def __init__(
        self,
        settings: Settings,
        background: Background,
        timekeeper: Timekeeper,
        upkeep: Upkeep,
        sweeper: Sweeper,
        prewarmer: ImagePrewarmer,
        manifests: Manifests,
        on_missing: Callable[[Worker], None],
    ) -> None:
        self._sweep_interval_s = settings.sweep_interval_s
        self._background = background
        self._timekeeper = timekeeper
        self._upkeep = upkeep
        self._sweeper = sweeper
        self._prewarmer = prewarmer
        self._manifests = manifests
        self._on_missing = on_missing
        self._upkeep_due = 0.0  # by the steady clock
        self._sweep_due = 0.0  # Unix seconds

    def begin_due(self, workers: Sequence[Worker], now: float) -> None:
        """Begin whatever is due. ``workers``: the living ones; ``now``: Unix seconds."""
        self._begin_upkeep(now)
        self._begin_sweep(now)
        if flavor := self._prewarmer.next_flavor(workers):
            self._background.begin("prewarm", self._prewarmer.prewarm, flavor, self._background.is_stopping)
        if self._background.may_begin("manifests") and self._manifests.is_behind():
            self._background.begin("manifests", self._manifests.keep_up, self._background.is_stopping)

    def next_at(self) -> float:
        """When the next sweep is due (Unix seconds)."""
        return self._sweep_due

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by that much."""
        self._sweep_due += seconds

    def finish(self, unwanted: Callable[[], bool]) -> None:
        """Write the manifests that are behind, until ``unwanted``. Raises PeeweeException."""
        self._manifests.keep_up(unwanted)

    def _begin_upkeep(self, now: float) -> None:
        if (steady := self._timekeeper.steady()) >= self._upkeep_due:
            self._upkeep_due = steady + UPKEEP_INTERVAL_S
            self._timekeeper.keep()
            self._background.begin("upkeep", self._upkeep.prune, now)

    def _begin_sweep(self, now: float) -> None:
        if now >= self._sweep_due and self._background.may_begin("sweep"):
            self._sweep_due = now + self._sweep_interval_s
            self._background.begin("sweep", self._sweep)
            self._background.begin("sizes", self._upkeep.measure, self._background.is_stopping)

    def _sweep(self) -> None:
        self._upkeep.make_room()
        self._upkeep.keep_up()
        try:
            missing = self._sweeper.sweep().missing
        except InfrastructureError as error:
            log.warning("the cloud's resources cannot be listed", detail=error.message)
        except Exception as problem:
            if is_of_the_file(problem):  # without the rows, what is an orphan is not known
                raise
            log.exception("a sweep failed unexpectedly")
        else:
            for worker in living_workers():
                if worker.name in missing:
                    self._on_missing(worker)
