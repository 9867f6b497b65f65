"""The daily upkeep of an installation: whatever is kept only for a while is removed, and records are completed."""

from collections.abc import Callable

import structlog

from server.engine.duties.retention import Retention
from server.engine.duties.timekeeping import why_doubted
from server.engine.duties.uploads import UploadUpkeep
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.records.manifests import Manifests
from server.engine.records.sizes import Sizes
from server.errors import CumulusError
from server.settings import Settings
from server.workers.fleet import Fleet

GB = 1e9
log = structlog.get_logger()


class Upkeep:
    """That of one installation. Blocks; a failure is logged, and the next upkeep tries again."""

    def __init__(
        self,
        settings: Settings,
        conversions: ConversionCache,
        manifests: Manifests,
        sizes: Sizes,
        fleet: Fleet,
        retention: Retention,
        uploads: UploadUpkeep,
    ) -> None:
        self._min_free = settings.min_free_gb * GB
        self._conversions = conversions
        self._manifests = manifests
        self._sizes = sizes
        self._fleet = fleet
        self._retention = retention
        self._uploads = uploads

    def prune(self, now: float) -> None:
        """Remove what is old. ``now``: Unix seconds."""
        try:
            self._prune(now)
        except CumulusError as problem:
            log.warning("what is no longer kept could not be removed", detail=problem.message)
        except Exception:
            log.exception("what is no longer kept could not be removed")

    def measure(self, unwanted: Callable[[], bool]) -> None:
        """Measure what ended jobs keep of the storage, until ``unwanted``."""
        try:
            self._sizes.keep_up(unwanted)
        except Exception:  # usage lacks them until the next time
            log.exception("what ended jobs keep of the storage could not be measured")

    def make_room(self) -> None:
        """Empty the trash as far as the storage is short of room."""
        try:
            self._retention.relieve(self._min_free)
        except OSError as problem:  # the storage is away, or takes nothing
            log.warning("the trash cannot be read", detail=str(problem))

    def keep_up(self) -> None:
        """What is looked at more often: uploads that nobody continues, how much owners store."""
        try:
            self._uploads.keep_up()
        except CumulusError as problem:
            log.warning("uploads could not be looked after", detail=problem.message)
        except Exception:
            log.exception("uploads could not be looked after")

    def _prune(self, now: float) -> None:
        self._conversions.forget_finished()
        if completed := self._manifests.complete_records():
            log.info("records of ended jobs were incomplete, and were completed", jobs=completed[:20])
        believed = 0.0 if why_doubted(now) else now
        self._fleet.forget_old_plays(believed)
        for one in self._retention.clean(now):
            log.info("no longer kept", kind=one.kind, name=one.name, bytes=one.bytes, reason=one.reason)
        self._fleet.forget_unused(believed)
