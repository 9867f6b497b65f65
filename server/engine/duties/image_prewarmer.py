"""What lets later machines start sooner: for which flavor the cloud is asked to make it, when, and how often.

Owns the wishes and the pauses after failures. What is made is the cloud's matter (qemu: a memory image); where it makes nothing,
no machine ever starts cold and nothing is wished for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from server.catalog.flavors import Flavor, Flavors
from server.db.models import Worker
from server.errors import CumulusError
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasPrewarming

COLD = "cold"  # how the word begins by which the cloud says that a machine started without it
PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
log = structlog.get_logger()


@dataclass
class _Wish:
    """``not_before``: seconds of the steady clock."""

    flavor: Flavor
    failures: int = 0
    not_before: float = 0.0


class ImagePrewarmer:
    """The wishes of one controller. They are forgotten with it: the next cold machine tells again."""

    def __init__(self, cloud: Cloud, flavors: Flavors, enabled: bool, steady: Callable[[], float]) -> None:
        self._cloud = cloud
        self._flavors = flavors
        self._enabled = enabled
        self._steady = steady
        self._wishes: dict[str, _Wish] = {}
        self._heard: set[int] = set()
        self._used = 0

    def look(self, workers: Sequence[Worker]) -> Flavor | None:
        """Hear what living workers tell of their start; returns for which flavor something should be made now, if for any.

        Only where a machine of that flavor would find room beside the others.
        """
        self._used = sum(worker.weight for worker in workers)
        if not self._enabled:
            return None
        cold = [worker for worker in workers if worker.boot.startswith(COLD)]
        for worker in cold:
            flavor = self._flavors.get(worker.flavor)
            if flavor and worker.id not in self._heard:
                self._wishes.setdefault(flavor.name, _Wish(flavor))
        self._heard = {worker.id for worker in cold}
        now = self._steady()
        ready = [wish.flavor for wish in list(self._wishes.values()) if wish.not_before <= now and self._has_room(wish.flavor)]
        return ready[0] if ready else None

    def warm_up(self, flavor: Flavor, stopping: Callable[[], bool]) -> None:
        """Have the cloud make it; blocks. Given up while the controller stops, or jobs need the room, and wished for still."""

        def unwanted() -> bool:
            return stopping() or not self._has_room(flavor)

        try:
            if isinstance(self._cloud, HasPrewarming):
                self._cloud.prewarming.warm_up(flavor, unwanted)
        except Exception as problem:  # noqa: BLE001  # whatever it is: no job is concerned, and a pause is due
            if not unwanted():
                self._failed(self._wishes[flavor.name], problem)
        else:
            del self._wishes[flavor.name]

    def _has_room(self, flavor: Flavor) -> bool:
        return self._used + flavor.weight <= self._flavors.max_weight

    def _failed(self, wish: _Wish, problem: Exception) -> None:
        """Said once; tried again after a pause that doubles."""
        if not wish.failures:
            detail, traceback = (problem.message, None) if isinstance(problem, CumulusError) else (repr(problem), problem)
            log.warning("machines of a flavor go on starting cold", flavor=wish.flavor.name, detail=detail, exc_info=traceback)
        wish.failures += 1
        wish.not_before = self._steady() + min(PAUSE_S * 2.0 ** (wish.failures - 1), LONGEST_PAUSE_S)
