"""What parts an attempt had, and how long each took: from the job's events and, of the run itself, from the runner's word."""

from collections.abc import Callable, Iterable, Iterator

from cumulus_client.jobs import Phase
from server.db.models import Event
from server.states import JobState
from server.storage.report import RunResult

# The phase that a state begins. LOST is part of the run: the machine may answer again.
_NAMES = {
    JobState.UPLOADING: "upload",
    JobState.QUEUED: "queued",
    JobState.PROVISIONING: "machine",
    JobState.STARTING: "boot",
    JobState.RUNNING: "run",
    JobState.FINISHING: "save",
}


def phases_of(events: Iterable[Event], result_of: Callable[[int], RunResult | None]) -> list[Phase]:
    """The phases in their order; the last one has no end while the job is in it. ``result_of``: how an attempt's run ended."""
    found = list(_changes(events))
    return [part for one in found for part in _parts(one, result_of(one.attempt) if one.name == "run" else None)]


def _changes(events: Iterable[Event]) -> Iterator[Phase]:
    attempt, name, began = 1, "", 0.0
    for event in events:
        state = event.new
        if not state or state == JobState.LOST or (state == JobState.RUNNING and event.old == JobState.LOST):
            continue
        if name:
            yield Phase(name=name, attempt=attempt, began=began, ended=event.at)
        if state == JobState.QUEUED and event.old not in ("", JobState.UPLOADING):
            attempt += 1
        name, began = _NAMES.get(JobState(state), ""), event.at
    if name:
        yield Phase(name=name, attempt=attempt, began=began, ended=None)


def _parts(phase: Phase, result: RunResult | None) -> Iterator[Phase]:
    """A run as what comes before the app, the app, and what comes after it, where the runner has said when those were."""
    if result is None or result.started is None or result.ended is None or phase.ended is None:
        yield phase
        return
    first = min(max(result.started, phase.began), phase.ended)  # by the machine's clock, which may be another
    last = min(max(result.ended, first), phase.ended)
    for name, began, ended in (("convert", phase.began, first), ("run", first, last), ("save", last, phase.ended)):
        if ended > began or name == "run":
            yield Phase(name=name, attempt=phase.attempt, began=began, ended=ended)
