"""``/metrics`` for Prometheus: jobs and workers by state, weight, orphans, the loop's turns.

Read when asked: nothing is counted beside rows, but for how long the loop's turns took.
"""

import time
from collections.abc import Callable, Iterator

from flask import Response
from peewee import fn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.db.models import Job, Stateful, Worker
from server.db.queries import living_workers
from server.engine.duties.sightings import trash_bytes
from server.engine.duties.sweeper import Sweeper
from server.engine.duties.timekeeping import why_doubted
from server.states import JobState, WorkerState

TURN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5)


def turn_histogram() -> Histogram:
    """How long the turns of one loop took, seconds; in no registry yet."""
    return Histogram("cumulus_loop_turn_seconds", "Duration of the loop's turns", buckets=TURN_BUCKETS_S, registry=None)


class Metrics(Collector):
    """What one controller tells of itself. ``max_weight``: that its machines may have together."""

    def __init__(self, sweeper: Sweeper, max_weight: int, turns: Histogram, clock: Callable[[], float] = time.time) -> None:
        self._sweeper = sweeper
        self._clock = clock
        self._max_weight = max_weight
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._registry.register(turns)

    def answer(self) -> Response:
        """The text that Prometheus reads."""
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now."""
        yield _by_state("cumulus_jobs", "Jobs by state", Job, JobState)
        yield _by_state("cumulus_workers", "Machines that exist or are to exist, by state", Worker, WorkerState)
        used = sum(worker.weight for worker in living_workers())
        yield GaugeMetricFamily("cumulus_weight_used", "Weight of all machines that are not confirmed gone", used)
        yield GaugeMetricFamily("cumulus_weight_limit", "Weight that all machines may have together", self._max_weight)
        yield GaugeMetricFamily("cumulus_orphans", "What nobody accounted for at the last look at the cloud", self._sweeper.seen)
        doubted = bool(why_doubted(self._clock()))
        yield GaugeMetricFamily("cumulus_ages_doubted", "Whether the clock keeps what is old from being removed", doubted)
        yield GaugeMetricFamily("cumulus_trash_bytes", "What waits in the trash and can be had back", trash_bytes())
        yield CounterMetricFamily("cumulus_orphans_removed", "Orphans removed since the start", self._sweeper.removed)


def _by_state(name: str, text: str, table: type[Stateful], states: type[JobState] | type[WorkerState]) -> Metric:
    counts: dict[str, int] = dict(table.select(table.state, fn.count(table.id)).group_by(table.state).tuples())  # type: ignore[arg-type]
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state in states:
        if state is not WorkerState.DELETED:
            family.add_metric([state.value], counts.get(state.value, 0))
    return family
