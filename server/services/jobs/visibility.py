"""Which jobs somebody may see: the own ones and those of the team, an administrator all of them.

A job that one may not see is not there: nothing tells it from a number that nobody has.
"""

from server.db.cached_sql import rows as rows_of
from server.db.models import Event, Job
from server.db.queries import known_job
from server.errors import NotFound, no_job
from server.services.principal import Established, Forbidden, Principal, Role
from server.services.times import local_time


def visible_owners(principal: Principal) -> frozenset[str] | None:
    """The owners whose jobs lists have; None for all. Raises Forbidden.

    The desktop client shows all jobs to everybody: its contract says so.
    """
    principal.require(Role.USER)
    if Role.ADMINISTRATOR in principal.roles or principal.established is Established.DESKTOP_CLAIM:
        return None
    return frozenset({principal.name}) | principal.team


def visible_job(principal: Principal, job_id: int, hint: str = "; `cumulus jobs` lists them") -> Job:
    """A job's row. Raises NotFound where there is none to see; of a deleted one it says who deleted it. Raises Forbidden.

    ``hint``: what an administrator may do where a number is wrong.
    """
    principal.require(Role.USER)
    job = known_job(job_id)
    if job is None or not principal.may_see(job.owner):
        raise NotFound(_none(principal, job_id, hint if job is None else None), field="job")
    return job


def job_to_change(principal: Principal, job_id: int, owner: str = "") -> Job:
    """The same of a job that is the principal's to change. ``owner``: only if it is this one's. Raises NotFound, Forbidden."""
    job = visible_job(principal, job_id, "")  # before: what is said of another's job must not depend on whose it is
    if owner and job.owner != owner:
        raise NotFound(no_job(job_id, owner), field="job")
    if not principal.may_use(job.owner):
        raise Forbidden(f"job {job_id} is {job.owner}'s: only {job.owner} or an administrator may do this", field="job")
    return job


def _none(principal: Principal, job_id: int, hint: str | None) -> str:
    """That there is none to see, with who has deleted it. ``hint``: None where there is one of somebody else."""
    gone = None if hint is None else Job.get_or_none(Job.id == job_id)
    if gone is not None and principal.may_see(gone.owner):
        deleted = rows_of(Event, "subject = 'job' AND subject_id = ? AND new = 'deleted'", job_id)
        if deleted:
            return f"{no_job(job_id)}; {deleted[0].who} deleted it on {local_time(deleted[0].at)}"
    if Role.ADMINISTRATOR in principal.roles:
        return f"{no_job(job_id)}{hint or ''}"
    return no_job(job_id, principal.name)
