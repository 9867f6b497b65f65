"""How a job is ended from outside, whatever it is doing."""

from server.db.models import Job
from server.db.queries import known_job
from server.db.transitions import Change, transition
from server.reasons import Reason
from server.states import JobState


def end_job(job: Job, end: JobState, change: Change) -> bool:
    """Move a job to ``end`` from wherever it is; False if it had ended. Within a transaction: it stays there meanwhile."""
    now = known_job(job.id)
    state = JobState.DELETED if now is None else JobState(now.state)
    if state.is_final:
        return False
    message = Reason(change.reason).explain(change.text)
    fields = {"ended": change.at, "outcome": end, "reason": change.reason, "message": message}
    return transition(Job, job.id, state, end, change, fields)
