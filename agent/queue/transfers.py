"""The transfers in the queue: each one's way from an order to what has arrived, or failed."""

import json
from collections.abc import Iterable, Mapping, Sequence

from agent.queue.models import LISTED, Change, Job, Transfer, Want, database_of, numbers, transition, transition_all
from agent.queue.orders import Wanted, own_place
from agent.queue.states import ACTIVE_TRANSFERS, JobState, TransferState
from agent.queue.turns import BATCH_FILES
from agent.queue.wants import drop_unwanted, jobs_wanting, mark_complete, transfer_for


class Transfers:
    """The queue's transfers."""

    def to_survey(self, now: float) -> list[Transfer]:
        """The transfers whose source is due for a look."""
        due = (Transfer.state == TransferState.WAITING) & (Transfer.not_before <= now)
        return list(Transfer.select(*LISTED).where(due).order_by(Transfer.id).limit(BATCH_FILES))

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
        transition(Transfer, transfer.id, TransferState.WAITING, TransferState.READY, Change(now, f"{size} bytes"), fields)

    def postpone_survey(self, transfer: Transfer, until: float, why: str, fingerprint: str, still_since: float) -> None:
        """The source is not complete: look again later."""
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
        """Those that have not been cancelled."""
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
            moved = transition_all(Transfer, contents, TransferState.SENDING, TransferState.SENT, Change(now), fields)
            for row_id in moved:
                Transfer.update(contents=contents[row_id]).where(Transfer.id == row_id).execute()
            mark_complete(jobs_wanting(moved), now)

    def taken(self, transfer: Transfer, why: str, now: float) -> None:
        """The storage has something else of that name: each job that wants the transfer gets one for itself."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            if not transition(
                Transfer, transfer.id, TransferState.SENDING, TransferState.TAKEN, Change(now, why), {"ended": now}
            ):
                return
            wanting = Job.select(Job.id, Job.folder, Job.owner).join(Want, on=(Want.job_id == Job.id))
            jobs = list(wanting.where(Want.transfer_id == transfer.id, Job.state == JobState.SENDING).order_by(Job.id))
            for job in jobs:
                own = transfer_for(job.owner, Wanted(transfer.source, own_place(job.folder), transfer.name), now)
                Want.insert(job_id=job.id, transfer_id=own).on_conflict_ignore().execute()
                Want.delete().where(Want.job_id == job.id, Want.transfer_id == transfer.id).execute()
            mark_complete([job.id for job in jobs], now)

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
        transition(Transfer, transfer.id, TransferState.SENDING, state, Change(now, why), fields)

    def fail(self, transfer: Transfer, why: str, now: float) -> list[int]:
        """A transfer cannot be done, so neither can the jobs that want it; returns what is under way for nothing now."""
        with database_of(Transfer).atomic("IMMEDIATE"):
            state = TransferState(Transfer.select(Transfer.state).where(Transfer.id == transfer.id).get().state)
            if state not in ACTIVE_TRANSFERS:
                return []
            if state is TransferState.READY:  # not begun: it was not looked at when it was said to fail
                return []
            transition(Transfer, transfer.id, state, TransferState.FAILED, Change(now, why), {"message": why, "ended": now})
            jobs = jobs_wanting([transfer.id])
            failing = transition_all(Job, jobs, JobState.SENDING, JobState.FAILING, Change(now, why), {"message": why})
            return drop_unwanted(failing, now)
