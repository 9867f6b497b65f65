"""The jobs in the queue: ordered, withdrawn, and brought to their end."""

import json

from agent.queue.models import CHUNK, Change, Job, Transfer, Want, create, database_of, transition, tuples
from agent.queue.orders import Order
from agent.queue.states import CANCELLABLE_JOBS, JobState, TransferState
from agent.queue.wants import drop_unwanted, mark_complete, transfer_for


class Jobs:
    """The queue's jobs."""

    def add(self, order: Order, now: float) -> bool:
        """Take an order; False where the job is known already: a client may ask twice."""
        with database_of(Job).atomic("IMMEDIATE"):
            if Job.select().where(Job.folder == order.folder).exists():
                return False
            state = JobState.FAILING if order.refusal else JobState.SENDING
            change = Change(now, order.refusal)
            job = create(
                Job, change, number=order.number, folder=order.folder, owner=order.owner, state=state, message=order.refusal
            )
            for wanted in order.wanted:
                Want.create(job_id=job.id, transfer_id=transfer_for(order.owner, wanted, now))
            mark_complete([job.id], now)
        return True

    def cancel(self, owner: str, number: int, now: float) -> tuple[bool, list[int]]:
        """Send no more of the owner's job; returns whether there was one, and the transfers under way that no other job wants."""
        with database_of(Job).atomic("IMMEDIATE"):
            jobs = [
                job
                for job in Job.select().where((Job.number == number) & (Job.owner == owner) & Job.state.in_(CANCELLABLE_JOBS))
                if transition(Job, job.id, JobState(job.state), JobState.CANCELLED, Change(now, f"by {owner}"))
            ]
            return bool(jobs), drop_unwanted([job.id for job in jobs], now)

    def withdraw(self, job: Job, why: str, now: float) -> tuple[bool, list[int]]:
        """As :meth:`cancel`, of one job and for another reason."""
        with database_of(Job).atomic("IMMEDIATE"):
            state = JobState(Job.select(Job.state).where(Job.id == job.id).get().state)
            fields = {"message": why}
            if state not in CANCELLABLE_JOBS or not transition(Job, job.id, state, JobState.CANCELLED, Change(now, why), fields):
                return False, []
            return True, drop_unwanted([job.id], now)

    def under_way(self) -> list[Job]:
        """The jobs that wait for files, those first for which something is sent now."""
        sending = (
            Want.select(Want.job_id)
            .join(Transfer, on=(Transfer.id == Want.transfer_id))
            .where(Transfer.state == TransferState.SENDING)
        )
        waiting = Job.state.in_(CANCELLABLE_JOBS)
        return list(Job.select().where(waiting).order_by(Job.id.in_(sending).desc(), Job.id))

    def due(self, now: float) -> list[Job]:
        """The jobs to mark complete or to report as failed."""
        waiting = Job.state.in_((JobState.MARKING, JobState.FAILING)) & (Job.not_before <= now)
        return list(Job.select().where(waiting).order_by(Job.id).limit(CHUNK))

    def end(self, job: Job, end: JobState, why: str, now: float) -> bool:
        """Move a job on to ``end``; False if it has moved meanwhile."""
        return transition(
            Job, job.id, JobState(job.state), end, Change(now, why), {"message": why, "not_before": 0.0, "failures": 0}
        )

    def postpone(self, job: Job, why: str, until: float) -> None:
        """A job could not be completed yet: it waits ``until`` then."""
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
        """What was left out of a job's folders."""
        wanted = Want.select(Want.transfer_id).where(Want.job_id == job.id)
        texts = [row[0] for row in tuples(Transfer.select(Transfer.skipped).where(Transfer.id.in_(wanted)))]
        return sorted({path for text in texts for path in json.loads(text)})
