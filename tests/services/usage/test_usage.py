"""Usage: what machines, apps and kept results are counted as, whose it is, and in which month."""

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cumulus_client.usage import Key, UsageQuery
from server.app import Controller
from server.db.models import Job, Worker
from server.errors import InvalidInput
from server.services.principal import Established, Forbidden, Principal, Role
from server.services.usage import service
from server.services.usage.periods import Amounts, Periods, span
from server.services.usage.service import UsageService

HOUR, DAY, GB = 3600.0, 86400.0, 1_000_000_000
ADA, EVE = Principal.local_user("ada"), Principal.local_user("eve")
MIA = Principal("mia", frozenset({Role.USER}), Established.LOCAL_USER, managed=frozenset({"ada"}), team=frozenset({"eve"}))
ROOT = Principal.local_admin("root")
NOW = time.mktime((2026, 4, 1, 0, 0, 0, 0, 0, -1))
FEBRUARY, MARCH = (time.mktime((2026, month, 1, 0, 0, 0, 0, 0, -1)) for month in (2, 3))


def add_job(owner: str, app: str, begin: float, hours: float, **given: object) -> Job:
    """A job that ran so long."""
    values = {
        "state": "done",
        "state_since": begin + hours * HOUR,
        "created": begin,
        "started": begin,
        "ended": begin + hours * HOUR,
        "owner": owner,
        "app": app,
        "flavor": "m1",
        "weight": 2,
        "settings": "{}",
        "folder": f"Job_{Job.select().count()}",
        "kept_bytes": 0,
    }
    return Job.create(**{**values, **given})


def add_machine(job: Job | None, begin: float, end: float | None, weight: int = 2) -> None:
    Worker.create(
        name=f"m-{Worker.select().count()}",
        job_id=job and job.id,
        flavor="m1",
        weight=weight,
        state="deleted" if end else "ready",
        state_since=end or begin,
        created=begin,
        ended=end,
    )


@pytest.fixture
def usage(controller: Controller) -> UsageService:
    assert controller.database is not None
    return UsageService(lambda: NOW)


def figures(usage: UsageService, who: Principal, *by: Key) -> dict[tuple[str, ...], tuple[float, ...]]:
    found = usage.report(who, UsageQuery(by=list(by)))
    return {
        tuple(getattr(row, key) for key in by): (row.jobs, row.weight_hours, row.job_hours, row.gb_days) for row in found.rows
    }


def test_weight_counts_from_the_request_for_a_machine_to_its_confirmed_end(usage: UsageService) -> None:
    job = add_job("ada", "comet", MARCH, 1)
    add_machine(job, MARCH - HOUR, MARCH + 2 * HOUR)
    add_machine(job, MARCH - 3 * HOUR, MARCH - 2 * HOUR, weight=4)  # of an earlier attempt
    add_machine(None, MARCH, MARCH + HOUR, weight=1)  # ready, and taken by nobody
    assert figures(usage, ROOT, "user") == {("ada",): (1, 10.0, 1.0, 0.0), ("",): (0, 1.0, 0.0, 0.0)}


def test_what_has_not_ended_counts_until_now(usage: UsageService) -> None:
    job = add_job("ada", "comet", NOW - 2 * HOUR, 0, state="running", ended=None)
    add_machine(job, NOW - 3 * HOUR, None)
    assert figures(usage, ROOT, "app") == {("comet",): (1, 6.0, 2.0, 0.0)}


def test_a_span_is_divided_among_the_months(usage: UsageService) -> None:
    job = add_job("ada", "comet", MARCH - 2 * HOUR, 6)
    add_machine(job, MARCH - 2 * HOUR, MARCH + 4 * HOUR, weight=1)
    assert figures(usage, ROOT, "month") == {("2026-02",): (1, 2.0, 2.0, 0.0), ("2026-03",): (0, 4.0, 4.0, 0.0)}


def test_storage_counts_from_the_end_of_a_job_until_it_is_archived_or_deleted(usage: UsageService) -> None:
    add_job("ada", "kept", NOW - 5 * DAY, 0, kept_bytes=3 * GB)
    add_job("ada", "archived", NOW - 5 * DAY, 0, kept_bytes=GB, state="archived", state_since=NOW - 3 * DAY)
    add_job("ada", "deleted", NOW - 5 * DAY, 0, kept_bytes=GB, state="deleted", state_since=NOW - 4 * DAY)
    add_job("ada", "at work", NOW - 5 * DAY, 0, kept_bytes=None, state="running", ended=None, started=None)
    assert {app: found[3] for (app,), found in figures(usage, ROOT, "app").items()} == {
        "kept": 15.0,
        "archived": 2.0,
        "deleted": 1.0,
        "at work": 0.0,
    }


def test_what_was_not_measured_is_said(usage: UsageService) -> None:
    add_job("ada", "comet", MARCH, 1, kept_bytes=None)
    add_job("ada", "comet", MARCH, 1)
    add_job("ada", "comet", FEBRUARY, 1, kept_bytes=None, state="deleted", state_since=FEBRUARY + 2 * HOUR)
    assert usage.report(ROOT, UsageQuery()).unmeasured == 2
    assert usage.report(ROOT, UsageQuery(first="2026-03-01")).unmeasured == 1


def test_only_what_lies_between_the_days_counts(usage: UsageService) -> None:
    job = add_job("ada", "comet", FEBRUARY, 24 * 40, kept_bytes=GB)
    add_machine(job, FEBRUARY, FEBRUARY + 40 * DAY, weight=1)
    found = usage.report(ROOT, UsageQuery(first="2026-02-10", last="2026-02-11"))
    assert (found.total.jobs, found.total.weight_hours, found.total.job_hours, found.total.gb_days) == (0, 48.0, 48.0, 0.0)
    assert found.last - found.first == 2 * DAY


@pytest.mark.parametrize(
    ("who", "owners"), [(ADA, {"ada"}), (EVE, {"eve"}), (MIA, {"ada", "mia"}), (ROOT, {"ada", "eve", "mia"})]
)
def test_each_sees_what_is_theirs_to_see(usage: UsageService, who: Principal, owners: set[str]) -> None:
    for owner in ("ada", "eve", "mia"):
        add_machine(add_job(owner, "comet", MARCH, 1), MARCH, MARCH + HOUR)
    assert {owner for (owner,) in figures(usage, who, "user")} == owners
    assert usage.report(who, UsageQuery(by=["app"])).total.jobs == len(owners)
    with pytest.raises(Forbidden):
        usage.report(Principal.agent(), UsageQuery())


def test_an_owner_counts_in_each_group_and_once_in_all(usage: UsageService, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"ada": ("plasma", "yeast"), "mia": ("plasma",)}
    monkeypatch.setattr(service, "groups_by_owner", lambda: members)
    monkeypatch.setattr(
        service, "groups_of", lambda name: {"ada": {"plasma": False, "yeast": False}, "mia": {"plasma": True}}[name]
    )
    for owner in ("ada", "eve", "mia"):
        add_job(owner, "comet", MARCH, 1)
    assert {group: found[0] for (group,), found in figures(usage, ROOT, "group").items()} == {"plasma": 2, "yeast": 1, "": 1}
    assert usage.report(ROOT, UsageQuery(by=["group"])).total.jobs == 3
    assert {group for (group,) in figures(usage, MIA, "group")} == {"plasma"}
    assert {group for (group,) in figures(usage, ADA, "group")} == {"plasma", "yeast"}


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [("2026-02-30", "", "first"), ("", "2026-13-01", "last"), ("2026-03-02", "2026-03-01", "first"), ("2027-01-01", "", "first")],
)
def test_days_that_are_none_are_refused(usage: UsageService, first: str, last: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        usage.report(ROOT, UsageQuery(first=first, last=last))
    assert refused.value.field == field


def test_usage_is_read_from_indexes_alone(controller: Controller, usage: UsageService, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[str] = []
    execute = controller.database.execute_sql

    def explained(text: str, values: object = ()) -> object:
        if "FROM job" in text or "FROM worker" in text:
            plans.extend(row[3] for row in execute(f"EXPLAIN QUERY PLAN {text}", values))
        return execute(text, values)

    monkeypatch.setattr(controller.database, "execute_sql", explained)
    usage.report(ROOT, UsageQuery())
    assert any("job USING COVERING INDEX job_usage" in plan for plan in plans)
    assert any("worker USING COVERING INDEX worker_usage" in plan for plan in plans)


@pytest.fixture(params=["UTC", "Europe/Vienna", "America/New_York", "Pacific/Auckland"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_months_are_those_of_the_server_s_time_zone(zone: str) -> None:
    first, last = span("2025-11-15", "2026-04-10", 4e9)
    periods = Periods(first, last, by_month=True)
    assert periods.names == ["2025-11", "2025-12", "2026-01", "2026-02", "2026-03", "2026-04"], zone
    assert [time.localtime(start)[2:5] for start in periods.starts] == [(15, 0, 0), *[(1, 0, 0)] * 5]
    assert all(start < end for start, end in pairwise([*periods.starts, last]))


SPANS = st.tuples(st.floats(0, 9), st.floats(-1e7, 2e7), st.floats(-1e7, 2e7))


@given(st.lists(SPANS, max_size=20), st.booleans())
def test_the_parts_of_all_periods_are_the_whole(spans: list[tuple[float, float, float]], by_month: bool) -> None:
    periods = Periods(0.0, 1e7, by_month=by_month)
    amounts = Amounts(periods)
    for rate, begin, end in spans:
        amounts.add(rate, begin, end)
    whole = sum(rate * max(0.0, min(end, 1e7) - max(begin, 0.0)) for rate, begin, end in spans)
    assert sum(amounts.totals()) == pytest.approx(whole, abs=1e-2)
    for number, found in enumerate(amounts.totals()):
        low, high = periods.starts[number], periods.ends[number]
        part = sum(rate * max(0.0, min(end, high) - max(begin, low)) for rate, begin, end in spans)
        assert found == pytest.approx(part, abs=1e-2)
