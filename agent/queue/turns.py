"""Whose turn it is: owners take turns, and small files of one folder go together."""

from typing import Any

from peewee import SQL, fn

from agent.queue.models import LISTED, Change, Job, Transfer, Want, database_of, transition_all, tuples
from agent.queue.states import ACTIVE_TRANSFERS, JobState, TransferState
from agent.sources.paths import parent

BATCH_BYTES = 64 * 1024 * 1024
BATCH_FILES = 1_000


def next_batch(now: float) -> list[Transfer]:
    """The next batch to send, moved to SENDING; empty if there is none.

    The next turn is that of the owner with the fewest transfers under way, then of the one served least recently, then of
    the one who came first. Small files of one folder are sent together.
    """
    with database_of(Transfer).atomic("IMMEDIATE"):
        turn = _turn(now)
        if turn is None:
            return []
        owner, first_id = turn
        first = Transfer.select(*LISTED).where(Transfer.id == first_id).get()
        batch = [first, *_companions(first, owner, now)]
        fields = {"began": now, "owner": owner, "message": ""}
        moved = set(
            transition_all(
                Transfer,
                [one.id for one in batch],
                TransferState.READY,
                TransferState.SENDING,
                Change(now, f"turn of {owner}"),
                fields,
            )
        )
    return [one for one in batch if one.id in moved]


def _turn(now: float) -> tuple[str, int] | None:
    """Whose turn it is, and the first transfer of theirs."""
    query = _sendable(now).select(Job.owner, fn.MIN(Transfer.id)).group_by(Job.owner)
    firsts: list[tuple[Any, ...]] = tuples(query)
    if not firsts:
        return None
    sending = Transfer.state == TransferState.SENDING
    active = {
        row[0]: row[1]
        for row in tuples(Transfer.select(Transfer.owner, fn.COUNT(Transfer.id)).where(sending).group_by(Transfer.owner))
    }

    def rank(candidate: tuple[Any, ...]) -> tuple[int, float, int]:
        owner, first = candidate
        served = Transfer.select(fn.MAX(Transfer.began)).where(Transfer.owner == owner).scalar()
        return active.get(owner, 0), served or 0.0, first

    owner, first = min(firsts, key=rank)
    return owner, first


def _companions(first: Transfer, owner: str, now: float) -> list[Transfer]:
    """Other small files of the same folder for the same place, that go with the first one."""
    room = BATCH_BYTES - first.bytes
    if first.is_folder or first.alone or room <= 0:
        return []
    near = (Transfer.id > first.id) & (Transfer.place == first.place) & (Transfer.is_folder == 0) & (Transfer.alone == 0)
    query = _sendable(now).select(*LISTED).distinct().where(near, Job.owner == owner).order_by(Transfer.id).limit(BATCH_FILES)
    found: list[Transfer] = []
    folder = parent(first.source)
    for one in query:
        if one.bytes <= room and parent(one.source) == folder and len(found) < BATCH_FILES - 1:
            room -= one.bytes
            found.append(one)
    return found


def _sendable(now: float) -> Any:
    """Transfers that may begin, joined with the jobs that want them. An earlier one to the same name comes first."""
    earlier = Transfer.alias()
    before = earlier.select(SQL("1")).where(
        earlier.place == Transfer.place,
        earlier.name == Transfer.name,
        earlier.id < Transfer.id,
        earlier.state.in_(ACTIVE_TRANSFERS),
    )
    return (
        Transfer.select()
        .join(Want, on=(Want.transfer_id == Transfer.id))
        .join(Job, on=(Job.id == Want.job_id))
        .where(
            Transfer.state == TransferState.READY, Transfer.not_before <= now, Job.state == JobState.SENDING, ~fn.EXISTS(before)
        )
    )
