"""What clients and people see of the queue. Changes nothing."""

from peewee import fn

from agent.queue.lines import Line
from agent.queue.models import Job, Transfer, Want, tuples
from agent.queue.states import ACTIVE_TRANSFERS, JobState


class Listing:
    """What is queued, under way, and done lately."""

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
