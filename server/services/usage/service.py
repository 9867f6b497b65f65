"""What was used: machines by their weight and hours, the hours that apps ran, and what ended jobs keep of the storage.

- Machines: from the request for one to its confirmed end, those of all attempts of a job, and the time that a machine was ready
  before the job took it. What a ready machine waits that no job has taken is of nobody.
- Jobs: from the start of the app to the end of the job, of the last attempt.
- Storage: what a job's folder holds that nothing else links to, as it was measured within minutes of its end, until the job was
  archived or deleted. Jobs at work, shared data, converted input and the trash do not count.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from cumulus_client import usage as api
from server.db.views.groups import groups_by_owner, groups_of
from server.db.views.usage import JobTimes, job_times, machine_times
from server.services.principal import Principal, Role
from server.services.usage.periods import Months, span
from server.states import JobState

HOUR_S, DAY_S, GB = 3600.0, 86400.0, 1e9
_GONE = (JobState.ARCHIVED, JobState.DELETED)
Keys = tuple[str, str, str, str]  # user, group, app, month


@dataclass
class _Used:
    jobs: int = 0
    weight_s: float = 0.0
    job_s: float = 0.0
    byte_s: float = 0.0

    def add(self, other: "_Used") -> None:
        self.jobs += other.jobs
        self.weight_s += other.weight_s
        self.job_s += other.job_s
        self.byte_s += other.byte_s

    def row(self, keys: Keys) -> api.UsageRow:
        user, group, app, month = keys
        return api.UsageRow(
            user=user,
            group=group,
            app=app,
            month=month,
            jobs=self.jobs,
            weight_hours=round(self.weight_s / HOUR_S, 3),
            job_hours=round(self.job_s / HOUR_S, 3),
            gb_days=round(self.byte_s / GB / DAY_S, 3),
        )


class UsageService:
    """The usage of an installation whose database is open. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def report(self, principal: Principal, query: api.UsageQuery) -> api.Usage:
        """What was used: an administrator sees all, a group manager the own groups, a user the own.

        Raises Forbidden, InvalidInput.
        """
        principal.require(Role.USER)
        owners = _seen(principal)
        first, last = span(query.first, query.last, self._clock())
        counted = _Counted(query.by, _groups(principal) if "group" in query.by else {}, first, last)
        for machine in machine_times(first, last, owners):
            for month, seconds in counted.months.parts(machine.created, last if machine.ended is None else machine.ended):
                counted.used(machine.owner, machine.app, month).weight_s += machine.weight * seconds
        for job in job_times(last, owners):
            counted.add(job)
        return api.Usage(
            first=first,
            last=last,
            rows=counted.rows(),
            total=counted.total().row(("", "", "", "")),
            unmeasured=counted.unmeasured,
        )


class _Counted:
    """Sums by owner, app and month, from which rows are made."""

    def __init__(self, by: Collection[str], groups: dict[str, tuple[str, ...]], first: float, last: float) -> None:
        self._by = by
        self._groups = groups
        self._first, self._last = first, last
        self._used: dict[tuple[str, str, str], _Used] = {}
        self.months = Months(first, last)
        self.unmeasured = 0

    def used(self, owner: str, app: str, month: str) -> _Used:
        """The sums to add to."""
        keys = (owner, app, month)
        found = self._used.get(keys)
        if found is None:
            found = self._used[keys] = _Used()
        return found

    def add(self, job: JobTimes) -> None:
        """Count a job."""
        if job.created >= self._first:
            self.used(job.owner, job.app, self.months.name(job.created)).jobs += 1
        if job.started is not None:
            for month, seconds in self.months.parts(job.started, self._last if job.ended is None else job.ended):
                self.used(job.owner, job.app, month).job_s += seconds
        if job.ended is None or job.ended >= self._last:
            return
        until = job.state_since if job.state in _GONE else self._last
        if job.kept is None:
            self.unmeasured += until > self._first
        elif job.kept:
            for month, seconds in self.months.parts(job.ended, until):
                self.used(job.owner, job.app, month).byte_s += job.kept * seconds

    def total(self) -> _Used:
        """All of it, each owner once."""
        total = _Used()
        for one in self._used.values():
            total.add(one)
        return total

    def rows(self) -> list[api.UsageRow]:
        """The sums by the keys that were asked for."""
        sums: dict[Keys, _Used] = {}
        for (owner, app, month), used in self._used.items():
            for keys in self._keys(owner, app, month):
                sums.setdefault(keys, _Used()).add(used)
        return [sums[keys].row(keys) for keys in sorted(sums)]

    def _keys(self, owner: str, app: str, month: str) -> Iterator[Keys]:
        groups = self._groups.get(owner, ("",)) if "group" in self._by else ("",)
        user, app, month = (value if key in self._by else "" for key, value in (("user", owner), ("app", app), ("month", month)))
        for group in groups:
            yield user, group, app, month


def _seen(principal: Principal) -> frozenset[str] | None:
    """The owners whose usage the principal sees; None: all. Sharing jobs is not sharing usage."""
    return None if principal.is_administrator else frozenset({principal.name}) | principal.managed


def _groups(principal: Principal) -> dict[str, tuple[str, ...]]:
    """The groups of each owner, of which a group manager sees the managed ones, and of oneself all."""
    found = groups_by_owner()
    if principal.is_administrator:
        return found
    own = groups_of(principal.name)
    managed = {group for group, is_manager in own.items() if is_manager}
    seen = {
        owner: tuple(group for group in groups if group in managed or owner == principal.name) for owner, groups in found.items()
    }
    return {owner: groups for owner, groups in seen.items() if groups}
