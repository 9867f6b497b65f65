"""Looking at batches: a list of the newest, one with its jobs, failures first. Each counts its jobs' states in one query.

A batch is there as long as one of its jobs is.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from cumulus_client import batches as api
from server.db.views.batches import BatchRow, MatrixRow, batch_row, batches_of, jobs_in, replaced_counts, state_counts
from server.errors import NotFound
from server.reasons import Reason
from server.services.jobs.figures import parse_figures
from server.services.principal import Principal, Role
from server.states import JobState


class BatchLookup:
    """The batches of an installation whose database is open."""

    def newest(self, principal: Principal, query: api.BatchesQuery) -> api.BatchList:
        """The newest batches that the principal may see. Raises Forbidden."""
        principal.require(Role.USER)
        owners = seen_owners(principal)
        if query.owner:
            owners = frozenset({query.owner}) if owners is None or query.owner in owners else frozenset()
        found = batches_of(owners, int(query.cursor or 0), query.limit + 1)
        page = found[: query.limit]
        counts = state_counts([one.id for one in page])
        shown = [api.Batch(**_fields(one, counts.get(one.id, ()))) for one in page]
        return api.BatchList(batches=shown, next=str(page[-1].id) if len(found) > len(page) else "")

    def details(self, principal: Principal, query: api.BatchQuery) -> api.BatchDetails:
        """One batch with its jobs. Raises NotFound, Forbidden."""
        batch = self.batch(principal, query.batch)
        start = int(query.cursor or 0)
        found = jobs_in(batch.id, query.state, start, query.limit + 1)
        page, replaced = found[: query.limit], replaced_counts(batch.id)
        return api.BatchDetails(
            **_fields(batch, state_counts([batch.id])[batch.id]),
            jobs=[_job(one, 1 + replaced.get(one.batch_position, 0)) for one in page],
            next=str(start + len(page)) if len(found) > len(page) else "",
        )

    def batch(self, principal: Principal, number: int) -> BatchRow:
        """A batch that the principal may see. Raises NotFound, Forbidden."""
        principal.require(Role.USER)
        batch = batch_row(number)
        if batch is None or not principal.may_see(batch.owner):
            raise NotFound(f"there is no batch {number}; `cumulus batch list` lists them", field="batch")
        return batch


def seen_owners(principal: Principal) -> frozenset[str] | None:
    """The owners whose batches and usage the principal may see; None: all."""
    return None if principal.is_administrator else frozenset({principal.name}) | principal.team | principal.managed


def _fields(batch: BatchRow, counts: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    states: Counter[str] = Counter()
    archived = 0
    for state, outcome, number in counts:
        is_archived = state == JobState.ARCHIVED
        states[outcome if is_archived else state] += number
        archived += number if is_archived else 0
    return {
        "id": batch.id,
        "owner": batch.owner,
        "app": batch.app,
        "name": batch.name,
        "size": batch.size,
        "created": batch.created,
        "states": dict(states),
        "archived": archived,
        "is_over": all(JobState(state).is_final for state in states),
    }


def _job(row: MatrixRow, tries: int) -> api.BatchJob:
    reason = Reason.known(row.reason)
    is_archived = row.state == JobState.ARCHIVED
    return api.BatchJob(
        position=row.batch_position,
        label=row.batch_label,
        job=row.id,
        state=row.outcome if is_archived else row.state,
        is_archived=is_archived,
        attempt=row.attempt,
        reason=row.reason,
        blame=str(reason.blame) if reason else "",
        message=row.message,
        warning=row.warning,
        files=[name for name in row.inputs.split("\n") if name],
        figures=parse_figures(row.figures),
        tries=tries,
        started=row.started,
        ended=row.ended,
    )
