"""Images that let later machines start sooner: for which flavor the cloud is asked to make one, when, and how often.

Owns the requests and the pauses after failures. What is made is up to the cloud (qemu: a memory image); a cloud that makes
nothing never reports a cold start, so nothing is requested.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from server.catalog.flavors import Flavor, Flavors
from server.db.models import Worker
from server.errors import CumulusError
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasPrewarming

COLD = "cold"  # how the cloud's report begins of a machine that started without an image
PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
log = structlog.get_logger()


@dataclass
class _Request:
    """``not_before``: seconds of the steady clock."""

    flavor: Flavor
    failures: int = 0
    not_before: float = 0.0


class ImagePrewarmer:
    """The requests of one controller. They are forgotten with it: the next cold machine makes them again."""

    def __init__(self, cloud: Cloud, flavors: Flavors, enabled: bool, steady: Callable[[], float]) -> None:
        self._cloud = cloud
        self._flavors = flavors
        self._enabled = enabled
        self._steady = steady
        self._requests: dict[str, _Request] = {}
        self._seen: set[int] = set()
        self._used = 0

    def next_flavor(self, workers: Sequence[Worker]) -> Flavor | None:
        """Read how living workers started; returns the flavor for which an image should be made now, if any.

        Only where a machine of that flavor would find room beside the others.
        """
        self._used = sum(worker.weight for worker in workers)
        if not self._enabled:
            return None
        cold = [worker for worker in workers if worker.boot.startswith(COLD)]
        for worker in cold:
            flavor = self._flavors.get(worker.flavor)
            if flavor and worker.id not in self._seen:
                self._requests.setdefault(flavor.name, _Request(flavor))
        self._seen = {worker.id for worker in cold}
        now = self._steady()
        ready = [
            request.flavor
            for request in list(self._requests.values())
            if request.not_before <= now and self._has_room(request.flavor)
        ]
        return ready[0] if ready else None

    def prewarm(self, flavor: Flavor, stopping: Callable[[], bool]) -> None:
        """Have the cloud make it; blocks. Given up, and still requested, once the controller stops or jobs need the room."""

        def unwanted() -> bool:
            return stopping() or not self._has_room(flavor)

        try:
            if isinstance(self._cloud, HasPrewarming):
                self._cloud.prewarming.warm_up(flavor, unwanted)
        except Exception as problem:  # noqa: BLE001  # whatever it is: it affects no job, and a pause follows
            if not unwanted():
                self._failed(self._requests[flavor.name], problem)
        else:
            del self._requests[flavor.name]

    def _has_room(self, flavor: Flavor) -> bool:
        return self._used + flavor.weight <= self._flavors.max_weight

    def _failed(self, request: _Request, problem: Exception) -> None:
        """Log the first failure; try again after a pause that doubles."""
        if not request.failures:
            detail, traceback = (problem.message, None) if isinstance(problem, CumulusError) else (repr(problem), problem)
            log.warning(
                "machines of a flavor continue to start cold", flavor=request.flavor.name, detail=detail, exc_info=traceback
            )
        request.failures += 1
        request.not_before = self._steady() + min(PAUSE_S * 2.0 ** (request.failures - 1), LONGEST_PAUSE_S)
