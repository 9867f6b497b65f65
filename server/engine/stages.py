"""The stages of a job's life, each the work of one part, as the loop holds them."""

from dataclasses import dataclass

from server.db.models import Worker
from server.engine.failures import FailingJobs
from server.engine.intake import Intake
from server.engine.launching.launcher import Launcher
from server.engine.launching.pool_launcher import PoolLauncher
from server.engine.monitoring.monitor import Monitor
from server.engine.ready_pool import ReadyPool
from server.engine.teardown import Teardown
from server.engine.timeouts import Timeouts


@dataclass(frozen=True)
class Stages:
    """``pool`` and ``pool_launcher`` keep machines ready; ``timeouts`` and ``failing`` end an attempt in any stage."""

    intake: Intake
    pool: ReadyPool
    launcher: Launcher
    pool_launcher: PoolLauncher
    monitor: Monitor
    teardown: Teardown
    timeouts: Timeouts
    failing: FailingJobs

    def abandon(self) -> None:
        """The controller stops: wait no longer for what the next controller can enter again."""
        self.launcher.abandon()
        self.intake.abandon()

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by that much."""
        for part in (self.failing, self.intake, self.pool_launcher):
            part.clock_moved(seconds)

    def machine_missing(self, worker: Worker, now: float) -> None:
        """The cloud's list lacks the worker's machine."""
        self.pool.vanished(worker, now)
        self.monitor.mark_suspect(worker, now)
