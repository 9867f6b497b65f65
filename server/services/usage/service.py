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
from server.db.views.usage import JobTimes, MachineTimes, job_times, machine_times
from server.services.principal import Principal, Role
from server.services.usage.periods import Amounts, Periods, span
from server.states import JobState

HOUR_S, DAY_S, GB = 3600.0, 86400.0, 1e9
_GONE = (JobState.ARCHIVED, JobState.DELETED)
Keys = tuple[str, str, str, str]  # user, group, app, month


class _Used:
    """What one owner has used by one app, in each period."""

    def __init__(self, periods: Periods) -> None:
        self.jobs = [0] * len(periods.names)
        self.weight, self.ran, self.kept = Amounts(periods), Amounts(periods), Amounts(periods)

    def sums(self) -> Iterator["_Sum"]:
        """One for each period."""
        return map(_Sum, self.jobs, self.weight.totals(), self.ran.totals(), self.kept.totals())


@dataclass
class _Sum:
    """Jobs, and seconds times weight, seconds, seconds times bytes."""

    jobs: int = 0
    weight: float = 0.0
    ran: float = 0.0
    kept: float = 0.0

    def add(self, other: "_Sum") -> None:
        """Add what somebody else has used, or the same in another period."""
        self.jobs += other.jobs
        self.weight += other.weight
        self.ran += other.ran
        self.kept += other.kept

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was used."""
        return not (self.jobs or self.weight or self.ran or self.kept)

    def row(self, keys: Keys) -> api.UsageRow:
        """As the API gives it."""
        user, group, app, month = keys
        return api.UsageRow(
            user=user,
            group=group,
            app=app,
            month=month,
            jobs=self.jobs,
            weight_hours=round(self.weight / HOUR_S, 3),
            job_hours=round(self.ran / HOUR_S, 3),
            gb_days=round(self.kept / GB / DAY_S, 3),
        )


class UsageService:
    """The usage of an installation whose database is open. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def report(self, principal: Principal, query: api.UsageQuery) -> api.UsageReport:
        """What was used: an administrator sees all, a group manager the own groups, a user the own.

        Raises Forbidden, InvalidInput.
        """
        principal.require(Role.USER)
        owners = _seen(principal)
        first, last = span(query.first, query.last, self._clock())
        counted = _Counted(Periods(first, last, by_month="month" in query.by))
        for machine in machine_times(first, last, owners):
            counted.add_machine(machine)
        for job in job_times(last, owners):
            counted.add_job(job)
        rows, total = counted.rows(query.by, _groups(principal) if "group" in query.by else {})
        return api.UsageReport(first=first, last=last, rows=rows, total=total, unmeasured=counted.unmeasured)


class _Counted:
    """What was used by owner, app and period, from which rows are made."""

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self._used: dict[tuple[str, str], _Used] = {}
        self.unmeasured = 0

    def add_machine(self, machine: MachineTimes) -> None:
        """Count a machine."""
        end = self._periods.last if machine.ended is None else machine.ended
        self._of(machine.owner, machine.app).weight.add(machine.weight, machine.created, end)

    def add_job(self, job: JobTimes) -> None:
        """Count a job: that it was submitted, how long its app ran, what it keeps of the storage."""
        used, first, last = self._of(job.owner, job.app), self._periods.first, self._periods.last
        if job.created >= first:
            used.jobs[self._periods.number(job.created)] += 1
        if job.started is not None:
            used.ran.add(1.0, job.started, last if job.ended is None else job.ended)
        if job.ended is None:
            return
        until = job.state_since if job.state in _GONE else last
        if job.kept is not None:
            used.kept.add(job.kept, job.ended, until)
        elif job.ended < last and until > first:
            self.unmeasured += 1

    def rows(self, by: Collection[str], groups: dict[str, tuple[str, ...]]) -> tuple[list[api.UsageRow], api.UsageRow]:
        """The sums by the keys that were asked for, and the sum of all, in which each owner counts once."""
        found: dict[Keys, _Sum] = {}
        total = _Sum()
        for (owner, app), used in self._used.items():
            of_owner = groups.get(owner, ("",)) if "group" in by else ("",)
            for month, one in zip(self._periods.names, used.sums(), strict=True):
                if one.is_nothing:
                    continue
                total.add(one)
                for group in of_owner:
                    keys = (owner if "user" in by else "", group, app if "app" in by else "", month)
                    found.setdefault(keys, _Sum()).add(one)
        return [found[keys].row(keys) for keys in sorted(found)], total.row(("", "", "", ""))

    def _of(self, owner: str, app: str) -> _Used:
        used = self._used.get((owner, app))
        if used is None:
            used = self._used[(owner, app)] = _Used(self._periods)
        return used


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
