"""What keeps the queue right over time: after a restart, when the clock is set, and when rows are old."""

from typing import Any

from peewee import fn

from agent.queue.models import Change, Event, Job, Transfer, Want, database_of, numbers, transition_all
from agent.queue.states import ACTIVE_JOBS, ACTIVE_TRANSFERS, TransferState

DAY_S = 24 * 3600.0


class Upkeep:
    """Restarts, clocks and old rows."""

    def recover(self, now: float, why: str = "the agent was restarted", delay_s: float = 0.0) -> int:
        """Queue again what a killed agent was sending; returns the number of transfers. Only while nothing is being sent.

        ``delay_s``: not sooner than that.
        """
        ids = numbers(Transfer.select(Transfer.id).where(Transfer.state == TransferState.SENDING))
        fields = {"not_before": now + delay_s}
        return len(transition_all(Transfer, ids, TransferState.SENDING, TransferState.READY, Change(now, why), fields))

    def begin_anew(self, now: float) -> None:
        """The agent was away, and its clock may be wrong now: no limit expires for that, and no pause is endless."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            for table, active in ((Transfer, ACTIVE_TRANSFERS), (Job, ACTIVE_JOBS)):
                fields = {"state_since": now, "not_before": fn.MIN(table.not_before, now)}
                if table is Transfer:
                    fields |= {"failing_since": None, "still_since": 0.0}
                table.update(fields).where(table.state.in_(active)).execute()

    def adjust_clock(self, seconds: float) -> None:
        """The computer's clock was set by so many seconds: limits and pauses keep counting the time that really passed."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            for table, active in ((Transfer, ACTIVE_TRANSFERS), (Job, ACTIVE_JOBS)):
                moved: dict[str, Any] = {"state_since": table.state_since + seconds, "not_before": table.not_before + seconds}
                if table is Transfer:
                    moved["failing_since"] = Transfer.failing_since + seconds  # NULL stays NULL
                    moved["still_since"] = fn.IIF(Transfer.still_since > 0, Transfer.still_since + seconds, 0.0)
                table.update(moved).where(table.state.in_(active)).execute()

    def next_time(self, now: float) -> float | None:
        """When the next thing that is not due yet becomes due; None if nothing does."""
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

    def forget(self, before: float) -> int:
        """Remove what ended long ago; returns the number of jobs."""
        with database_of(Job).atomic("IMMEDIATE"):
            old = Job.delete().where(Job.state.not_in(ACTIVE_JOBS), Job.state_since < before).execute()
            wanted = Want.select(Want.transfer_id)
            Transfer.delete().where(Transfer.id.not_in(wanted), Transfer.state.not_in(ACTIVE_TRANSFERS)).execute()
            Event.delete().where(Event.at < before).execute()
        return int(old)
