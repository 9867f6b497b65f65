"""The queue: what is to be sent, in which order, and what became of it. Owns every change of a row's state; moves no byte.

All of it lies in the database, so an agent that was killed goes on where it was.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from peewee import SQL, fn

from agent.queue.lines import Line
from agent.queue.models import (
    CHUNK,
    LISTED,
    Change,
    Event,
    Job,
    Transfer,
    Want,
    database_of,
    insert,
    move,
    move_all,
    numbers,
    tuples,
)
from agent.queue.orders import Order, Wanted, own_place
from agent.queue.states import ACTIVE_JOBS, ACTIVE_TRANSFERS, CANCELLABLE_JOBS, JobState, TransferState
from agent.sources.paths import parent

BATCH_BYTES = 64 * 1024 * 1024
BATCH_FILES = 1_000
DAY_S = 24 * 3600.0


class Queue:
    """The rows of this agent."""

    def add(self, order: Order, now: float) -> bool:
        """Take an order; False where the job is known already: a client may ask twice."""
        with database_of(Job).atomic("IMMEDIATE"):
            if Job.select().where(Job.folder == order.folder).exists():
                return False
            state = JobState.FAILING if order.refusal else JobState.SENDING
            change = Change(now, order.refusal)
            job = insert(
                Job, change, number=order.number, folder=order.folder, owner=order.owner, state=state, message=order.refusal
            )
            for wanted in order.wanted:
                Want.create(job_id=job.id, transfer_id=self._transfer(order.owner, wanted, now))
            self._mark_complete([job.id], now)
        return True

    def together(self) -> AbstractContextManager[object]:
        """Several changes as one transaction."""
        return database_of(Job).atomic("IMMEDIATE")

    def cancel(self, owner: str, number: int, now: float) -> tuple[bool, list[int]]:
        """Send no more of the owner's job; whether there was one, and the transfers under way that nobody wants any more."""
        with database_of(Job).atomic("IMMEDIATE"):
            jobs = [
                job
                for job in Job.select().where((Job.number == number) & (Job.owner == owner) & Job.state.in_(CANCELLABLE_JOBS))
                if move(Job, job.id, JobState(job.state), JobState.CANCELLED, Change(now, f"by {owner}"))
            ]
            return bool(jobs), self._drop_unwanted([job.id for job in jobs], now)

    def withdraw(self, job: Job, why: str, now: float) -> tuple[bool, list[int]]:
        """As :meth:`cancel`, of one job and for another reason."""
        with database_of(Job).atomic("IMMEDIATE"):
            state = JobState(Job.select(Job.state).where(Job.id == job.id).get().state)
            fields = {"message": why}
            if state not in CANCELLABLE_JOBS or not move(Job, job.id, state, JobState.CANCELLED, Change(now, why), fields):
                return False, []
            return True, self._drop_unwanted([job.id], now)

    def recover(self, now: float, why: str = "the agent was restarted", delay_s: float = 0.0) -> int:
        """Take up again what nobody is sending any more; how many that were. Nothing may be under way.

        ``delay_s``: not sooner than that.
        """
        ids = numbers(Transfer.select(Transfer.id).where(Transfer.state == TransferState.SENDING))
        fields = {"not_before": now + delay_s}
        return len(move_all(Transfer, ids, TransferState.SENDING, TransferState.READY, Change(now, why), fields))

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by so much: limits and pauses go on counting the time that really passed."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            for table, active in ((Transfer, ACTIVE_TRANSFERS), (Job, ACTIVE_JOBS)):
                moved: dict[str, Any] = {"state_since": table.state_since + seconds, "not_before": table.not_before + seconds}
                if table is Transfer:
                    moved["failing_since"] = Transfer.failing_since + seconds  # NULL stays NULL
                    moved["still_since"] = fn.IIF(Transfer.still_since > 0, Transfer.still_since + seconds, 0.0)
                table.update(moved).where(table.state.in_(active)).execute()

    def begin_anew(self, now: float) -> None:
        """The agent was away, and its clock may be wrong now: no limit is over for that, and no pause is endless."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            for table, active in ((Transfer, ACTIVE_TRANSFERS), (Job, ACTIVE_JOBS)):
                fields = {"state_since": now, "not_before": fn.MIN(table.not_before, now)}
                if table is Transfer:
                    fields |= {"failing_since": None, "still_since": 0.0}
                table.update(fields).where(table.state.in_(active)).execute()

    def to_survey(self, now: float) -> list[Transfer]:
        """The transfers whose source is to be looked at now."""
        due = (Transfer.state == TransferState.WAITING) & (Transfer.not_before <= now)
        return list(Transfer.select(*LISTED).where(due).order_by(Transfer.id).limit(BATCH_FILES))

    def next_batch(self, now: float) -> list[Transfer]:
        """What is to be sent next, together, moved to SENDING; empty where nothing is.

        The turn goes to the owner with the fewest transfers under way, then to who was served least recently, then to
        who came first. Small files of one folder go together.
        """
        with database_of(Transfer).atomic("IMMEDIATE"):
            turn = self._turn(now)
            if turn is None:
                return []
            owner, first_id = turn
            first = Transfer.select(*LISTED).where(Transfer.id == first_id).get()
            batch = [first, *self._companions(first, owner, now)]
            fields = {"began": now, "owner": owner, "message": ""}
            moved = set(
                move_all(
                    Transfer,
                    [one.id for one in batch],
                    TransferState.READY,
                    TransferState.SENDING,
                    Change(now, f"turn of {owner}"),
                    fields,
                )
            )
        return [one for one in batch if one.id in moved]

    def next_time(self, now: float) -> float | None:
        """When something is due that is not now; None where nothing is."""
        later = (
            query.scalar()
            for query in (
                Transfer.select(fn.MIN(Transfer.not_before)).where(
                    Transfer.state.in_(ACTIVE_TRANSFERS), Transfer.not_before > now
                ),
                Job.select(fn.MIN(Job.not_before)).where(Job.state.in_(ACTIVE_JOBS), Job.not_before > now),
            )
        )
        return min((float(time) for time in later if time is not None), default=None)

    def ready(
        self,
        transfer: Transfer,
        fingerprint: str,
        size: int,
        *,
        is_folder: bool,
        now: float,
        skipped: Iterable[str] = (),
    ) -> None:
        """The source is complete."""
        fields = {
            "fingerprint": fingerprint,
            "bytes": size,
            "is_folder": int(is_folder),
            "skipped": json.dumps(list(skipped)),
            "message": "",
            "not_before": 0.0,
        }
        move(Transfer, transfer.id, TransferState.WAITING, TransferState.READY, Change(now, f"{size} bytes"), fields)

    def postpone_survey(self, transfer: Transfer, until: float, why: str, fingerprint: str, still_since: float) -> None:
        """The source is to be looked at again."""
        fields = {"not_before": until, "message": why, "fingerprint": fingerprint, "still_since": still_since}
        Transfer.update(fields).where(Transfer.id == transfer.id, Transfer.state == TransferState.WAITING).execute()

    def note_sent(self, transfer_id: int, sent: int, *, further: bool) -> bool:
        """How many bytes of a transfer are there; ``further`` than ever before: errors from now on are counted anew.

        False where it is not to be sent any more.
        """
        fields = {"sent": sent, **({"failures": 0, "failing_since": None} if further else {})}
        wanted = (Transfer.id == transfer_id) & (Transfer.state == TransferState.SENDING)
        return bool(Transfer.update(fields).where(wanted).execute())

    def still_sending(self, transfers: Sequence[int]) -> set[int]:
        """Those of these that nobody has cancelled."""
        sending = Transfer.select(Transfer.id).where(Transfer.state == TransferState.SENDING)
        return set(numbers(sending)) & set(transfers)

    def is_given_up(self, transfer: Transfer) -> bool:
        """Whether a transfer has failed or was cancelled."""
        ended = Transfer.state.in_((TransferState.FAILED, TransferState.CANCELLED))
        return bool(Transfer.select().where(Transfer.id == transfer.id, ended).exists())

    def arrived(self, contents: Mapping[int, str], now: float) -> None:
        """Transfers are there and checked; jobs that waited for nothing else get their marker next."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            fields = {"ended": now, "sent": Transfer.bytes, "failures": 0, "message": ""}
            moved = move_all(Transfer, contents, TransferState.SENDING, TransferState.SENT, Change(now), fields)
            for row_id in moved:
                Transfer.update(contents=contents[row_id]).where(Transfer.id == row_id).execute()
            self._mark_complete(_jobs_of(moved), now)

    def taken(self, transfer: Transfer, why: str, now: float) -> None:
        """The storage has something else of that name: each job that wants the transfer gets one for itself."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            if not move(Transfer, transfer.id, TransferState.SENDING, TransferState.TAKEN, Change(now, why), {"ended": now}):
                return
            wanting = Job.select(Job.id, Job.folder, Job.owner).join(Want, on=(Want.job_id == Job.id))
            jobs = list(wanting.where(Want.transfer_id == transfer.id, Job.state == JobState.SENDING).order_by(Job.id))
            for job in jobs:
                own = self._transfer(job.owner, Wanted(transfer.source, own_place(job.folder), transfer.name), now)
                Want.insert(job_id=job.id, transfer_id=own).on_conflict_ignore().execute()
                Want.delete().where(Want.job_id == job.id, Want.transfer_id == transfer.id).execute()
            self._mark_complete([job.id for job in jobs], now)

    def again(
        self, transfer: Transfer, state: TransferState, why: str, now: float, *, delay_s: float = 0.0, alone: bool = False
    ) -> None:
        """Send a transfer once more, from WAITING (its source has changed) or READY (the way was at fault).

        ``alone``: not in a batch.
        """
        at_fault = state is TransferState.READY and not alone
        fields = {
            "message": why,
            "not_before": now + delay_s,
            "still_since": 0.0,
            "alone": int(alone),
            "failures": transfer.failures + 1 if at_fault else transfer.failures,
            "failing_since": (transfer.failing_since or now) if at_fault else None,
        }
        move(Transfer, transfer.id, TransferState.SENDING, state, Change(now, why), fields)

    def fail(self, transfer: Transfer, why: str, now: float) -> list[int]:
        """A transfer cannot be done, so neither can the jobs that want it; returns what is under way for nothing now."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            state = TransferState(Transfer.select(Transfer.state).where(Transfer.id == transfer.id).get().state)
            if state not in ACTIVE_TRANSFERS:
                return []
            if state is TransferState.READY:  # not begun: it was not looked at when it was said to fail
                return []
            move(Transfer, transfer.id, state, TransferState.FAILED, Change(now, why), {"message": why, "ended": now})
            jobs = _jobs_of([transfer.id])
            failing = move_all(Job, jobs, JobState.SENDING, JobState.FAILING, Change(now, why), {"message": why})
            return self._drop_unwanted(failing, now)

    def due_jobs(self, now: float) -> list[Job]:
        """The jobs that are to be marked complete, or reported as failed."""
        waiting = Job.state.in_((JobState.MARKING, JobState.FAILING)) & (Job.not_before <= now)
        return list(Job.select().where(waiting).order_by(Job.id).limit(CHUNK))

    def end_job(self, job: Job, end: JobState, why: str, now: float) -> bool:
        """Move a job on to ``end``; False where somebody was first."""
        return move(Job, job.id, JobState(job.state), end, Change(now, why), {"message": why, "not_before": 0.0, "failures": 0})

    def postpone_job(self, job: Job, why: str, until: float) -> None:
        """A job's end did not succeed yet."""
        fields = {
            "not_before": until,
            "failures": job.failures + 1,
            "message": why if job.state == JobState.MARKING else job.message,
        }
        Job.update(fields).where(Job.id == job.id, Job.state == job.state).execute()

    def contents(self, job: Job) -> list[tuple[str, str]]:
        """(place, contents) of all that was sent for a job."""
        wanted = Want.select(Want.transfer_id).where(Want.job_id == job.id)
        query = Transfer.select(Transfer.place, Transfer.contents).where(Transfer.id.in_(wanted)).order_by(Transfer.id)
        return [(row[0], row[1]) for row in tuples(query)]

    def skipped(self, job: Job) -> list[str]:
        """What was left out of the folders of a job."""
        wanted = Want.select(Want.transfer_id).where(Want.job_id == job.id)
        texts = [row[0] for row in tuples(Transfer.select(Transfer.skipped).where(Transfer.id.in_(wanted)))]
        return sorted({path for text in texts for path in json.loads(text)})

    def under_way(self) -> list[Job]:
        """The jobs that wait for files, those first for which something is sent now."""
        sending = (
            Want.select(Want.job_id)
            .join(Transfer, on=(Transfer.id == Want.transfer_id))
            .where(Transfer.state == TransferState.SENDING)
        )
        waiting = Job.state.in_(CANCELLABLE_JOBS)
        return list(Job.select().where(waiting).order_by(Job.id.in_(sending).desc(), Job.id))

    def lines(self, owner: str | None = None, number: int | None = None) -> list[Line]:
        """What is queued or under way, in the order of arrival; of one job where one is named."""
        query = (
            Transfer.select(
                Job.number,
                Job.owner,
                Transfer.name,
                Transfer.state,
                Transfer.bytes,
                Transfer.sent,
                Transfer.message,
                Transfer.place,
                Transfer.skipped,
            )
            .join(Want, on=(Want.transfer_id == Transfer.id))
            .join(Job, on=(Job.id == Want.job_id))
            .where(Transfer.state.in_(ACTIVE_TRANSFERS), Job.state == JobState.SENDING)
            .order_by(Want.id)
        )
        if number is not None:
            query = query.where(Job.number == number, Job.owner == owner)
        return [Line(*row) for row in tuples(query)]

    def shared_names(self, place: str) -> list[str]:
        """The names queued or under way to a place, each once."""
        query = Transfer.select(Transfer.name).where(Transfer.place == place, Transfer.state.in_(ACTIVE_TRANSFERS))
        return list(dict.fromkeys(row[0] for row in tuples(query.order_by(Transfer.id))))

    def counts(self) -> dict[str, int]:
        """How many jobs are in which state."""
        return {row[0]: row[1] for row in tuples(Job.select(Job.state, fn.COUNT(Job.id)).group_by(Job.state).order_by(Job.state))}

    def recent(self, number: int) -> list[Job]:
        """The newest jobs."""
        return list(Job.select().order_by(Job.id.desc()).limit(number))

    def forget(self, before: float) -> int:
        """Remove what ended long ago; how many jobs that were."""
        with database_of(Job).atomic("IMMEDIATE"):
            old = Job.delete().where(Job.state.not_in(ACTIVE_JOBS), Job.state_since < before).execute()
            wanted = Want.select(Want.transfer_id)
            Transfer.delete().where(Transfer.id.not_in(wanted), Transfer.state.not_in(ACTIVE_TRANSFERS)).execute()
            Event.delete().where(Event.at < before).execute()
        return int(old)

    def _transfer(self, owner: str, wanted: Wanted, now: float) -> int:
        """The transfer that is to bring something: one that is queued for another job already, or a new one."""
        same = (Transfer.source == wanted.source) & (Transfer.place == wanted.place) & (Transfer.name == wanted.name)
        found = Transfer.select(Transfer.id).where(same, Transfer.state.in_(ACTIVE_TRANSFERS)).first()
        if found is not None:
            return int(found.id)
        fields = {"owner": owner, "source": wanted.source, "place": wanted.place, "name": wanted.name}
        return int(insert(Transfer, Change(now), state=TransferState.WAITING, **fields).id)

    def _turn(self, now: float) -> tuple[str, int] | None:
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

    def _companions(self, first: Transfer, owner: str, now: float) -> list[Transfer]:
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

    def _mark_complete(self, jobs: Iterable[int], now: float) -> None:
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
            move_all(Job, [one for one in part if one not in waiting], JobState.SENDING, JobState.MARKING, Change(now))

    def _drop_unwanted(self, jobs: Sequence[int], now: float) -> list[int]:
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
                moved = move_all(Transfer, ids, state, TransferState.CANCELLED, Change(now, "nobody wants it"), {"ended": now})
                stopped += moved if state is TransferState.SENDING else []
        return stopped


def _jobs_of(transfers: Sequence[int]) -> list[int]:
    found: dict[int, None] = {}
    for start in range(0, len(transfers), CHUNK):
        query = Want.select(Want.job_id).where(Want.transfer_id.in_(transfers[start : start + CHUNK])).order_by(Want.id)
        found |= dict.fromkeys(numbers(query))
    return list(found)


def _sendable(now: float) -> Any:
    """Transfers that may begin, joined with the jobs that want them. An earlier one to the same name goes first."""
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
