"""Which job needs which transfer, and what follows for the others when one of them ends. Called within a transaction."""

from collections.abc import Iterable, Sequence

from agent.queue.models import CHUNK, Change, Job, Transfer, Want, create, numbers, transition_all
from agent.queue.orders import Wanted
from agent.queue.states import ACTIVE_TRANSFERS, JobState, TransferState


def transfer_for(owner: str, wanted: Wanted, now: float) -> int:
    """The transfer that is to bring something: one that is queued for another job already, or a new one."""
    same = (Transfer.source == wanted.source) & (Transfer.place == wanted.place) & (Transfer.name == wanted.name)
    found = Transfer.select(Transfer.id).where(same, Transfer.state.in_(ACTIVE_TRANSFERS)).first()
    if found is not None:
        return int(found.id)
    fields = {"owner": owner, "source": wanted.source, "place": wanted.place, "name": wanted.name}
    return int(create(Transfer, Change(now), state=TransferState.WAITING, **fields).id)


def jobs_wanting(transfers: Sequence[int]) -> list[int]:
    """The jobs that need any of these transfers, each once."""
    found: dict[int, None] = {}
    for start in range(0, len(transfers), CHUNK):
        query = Want.select(Want.job_id).where(Want.transfer_id.in_(transfers[start : start + CHUNK])).order_by(Want.id)
        found |= dict.fromkeys(numbers(query))
    return list(found)


def mark_complete(jobs: Iterable[int], now: float) -> None:
    """Move those jobs on that wait for no transfer any more."""
    wanted = list(jobs)
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        open_wants = (
            Want.select(Want.job_id)
            .join(Transfer, on=(Transfer.id == Want.transfer_id))
            .where(Want.job_id.in_(part), Transfer.state != TransferState.SENT)
        )
        waiting = set(numbers(open_wants))
        transition_all(Job, [one for one in part if one not in waiting], JobState.SENDING, JobState.MARKING, Change(now))


def drop_unwanted(jobs: Sequence[int], now: float) -> list[int]:
    """Cancel the transfers of ended jobs that no other job wants; the ids of those that were under way."""
    stopped: list[int] = []
    for job_id in jobs:
        wants = Want.select(Want.transfer_id).where(Want.job_id == job_id)
        others = (
            Want.select(Want.transfer_id)
            .join(Job, on=(Job.id == Want.job_id))
            .where(Want.transfer_id.in_(wants), Job.state == JobState.SENDING)
        )
        for state in ACTIVE_TRANSFERS:
            chosen = Transfer.select(Transfer.id).where(
                Transfer.id.in_(wants), Transfer.id.not_in(others), Transfer.state == state
            )
            ids = numbers(chosen)
            moved = transition_all(Transfer, ids, state, TransferState.CANCELLED, Change(now, "nobody wants it"), {"ended": now})
            stopped += moved if state is TransferState.SENDING else []
    return stopped
