"""How much an owner may store, and how much it stores: sums of rows, so that it can be asked before each upload.

An owner's usage is what its jobs' folders take, its shared uploads as long as they are there, and the whole length of each upload
that is not done. What a job's folder takes is measured by upkeep (:mod:`server.engine.duties.uploads`); until then the files
that were sent to it count as they were sent. A file with several names, as a shared one that jobs have pinned, counts once: for
who has sent it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from peewee import Table, fn

from server.db.models import Job, JobBytes, Upload
from server.states import JobState, UploadState

GB = 1_000_000_000
USERS, GROUPS, MEMBERSHIPS = "user", "user_group", "membership"
_COUNTED = (UploadState.RECEIVING, UploadState.COMPLETE, UploadState.DONE)


class Quotas(Protocol):
    """Who may store how much."""

    def room(self, owner: str) -> int | None:
        """Bytes that the owner may store still (below 0: too much is there); None: there is no limit."""


class NoQuotas:
    """Nobody is limited."""

    def room(self, owner: str) -> int | None:  # noqa: ARG002  # the protocol's
        """None."""
        return None


@dataclass(frozen=True)
class Limit:
    """So many bytes for all that these owners have together. ``group``: theirs, "" for a user's own limit."""

    bytes: int
    owners: Sequence[str]
    group: str = ""


class StoredQuotas:
    """By the tables of users and groups, where 0 GB is a limit, too; ``default_gb``: for who has none of the own, 0: no limit."""

    def __init__(self, default_gb: float) -> None:
        self._default_gb = default_gb

    def room(self, owner: str) -> int | None:
        """See :class:`Quotas`: the least of the own limit's and of those of the groups that one is in."""
        rooms = [limit.bytes - usage(limit.owners) for limit in self.limits(owner)]
        return min(rooms, default=None)

    def limits(self, owner: str) -> Iterator[Limit]:
        """All that hold for somebody."""
        own_gb: float | None = self._default_gb or None
        if Upload._meta.database.table_exists(USERS):
            users = _table(USERS)
            row = users.select(users.c.quota_gb).where(users.c.name == owner).tuples().first()
            own_gb = own_gb if row is None or row[0] is None else row[0]
            yield from _group_limits(owner)
        if own_gb is not None:
            yield Limit(int(own_gb * GB), (owner,))


def _group_limits(owner: str) -> Iterator[Limit]:
    """Those of the groups that somebody is in: for all of their members together."""
    users, groups, memberships = map(_table, (USERS, GROUPS, MEMBERSHIPS))
    with_users = memberships.join(users, on=(users.c.id == memberships.c.user_id))
    own = memberships.select(memberships.c.group_id).from_(with_users).where(users.c.name == owner)
    columns = groups.c.id, groups.c.name, groups.c.quota_gb
    limited = groups.select(*columns).where(groups.c.id.in_(own), groups.c.quota_gb.is_null(False))
    for group_id, name, quota_gb in list(limited.tuples()):
        members = memberships.select(users.c.name).from_(with_users).where(memberships.c.group_id == group_id)
        yield Limit(int(quota_gb * GB), [member for (member,) in members.tuples()], name)


def _table(name: str) -> Table:
    """One of the accounts' tables, which have models of their own."""
    return Table(name).bind(Upload._meta.database)


def usage(owners: Sequence[str]) -> int:
    """Bytes that these owners have stored together, or have begun to."""
    has_no_content = Job.state.in_((JobState.ARCHIVED, JobState.DELETED))
    of_jobs = JobBytes.select(fn.SUM(JobBytes.bytes)).join(Job, on=(Job.id == JobBytes.job_id))
    jobs = of_jobs.where(JobBytes.owner.in_(owners), ~has_no_content).scalar() or 0
    measured = JobBytes.select().where(JobBytes.job_id == Upload.job_id, JobBytes.at > Upload.ended)
    removed = Job.select().where(Job.id == Upload.job_id, has_no_content)
    is_own = (Upload.state == UploadState.DONE) & Upload.place.startswith("jobs/")
    counts_with_job = is_own & (fn.EXISTS(measured) | fn.EXISTS(removed))
    sent = Upload.select(fn.SUM(Upload.length)).where(
        Upload.owner.in_(owners), Upload.state.in_(_COUNTED), ~Upload.stored, ~counts_with_job
    )
    return int(jobs) + int(sent.scalar() or 0)
