"""Exactly those jobs get a machine that are said to be next, whatever waits and whatever there is."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.app import Controller
from server.db.models import Conversion, Event, Job, Row, StoredSetting, Worker
from server.db.queries import living_workers
from server.db.settings_store import drain, write_setting
from server.db.transitions import Change
from server.engine.breaker import NAME
from server.engine.situation import Situations
from server.errors import TemplateMissing
from server.home.installation import installation_id
from server.policy.why_waiting import BEGINS, why_waiting
from server.settings import Settings
from server.states import JobState, WorkerState
from server.workers.clouds.local import LocalCloud, LocalImages

NOW = 1_000_000.0
SMALL, LARGE = "m1.4xlarge", "m1.8xlarge"
TRY = 1000


class NoTemplate(LocalImages):
    """No snapshot that a waiting machine could be too old for."""

    def current(self) -> str:
        raise TemplateMissing("none")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"min_ready": {SMALL: 2, LARGE: 1}})


@pytest.fixture
def cloud(settings: Settings) -> LocalCloud:
    return LocalCloud(settings, installation_id(settings.home), NoTemplate())


jobs = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(["ada", "bob"]),
        "flavor": st.sampled_from([SMALL, LARGE]),
        "weight": st.sampled_from([1, 1, 2, 3, 9]),
        "priority": st.integers(-1, 1),
        "state_since": st.sampled_from([NOW, NOW - 5000]),
        "not_before": st.sampled_from([0.0, 0.0, NOW + 60]),
        "needs": st.sampled_from(["", "a", "b"]),
        "machine": st.sampled_from(["", "", "", WorkerState.DELETING, WorkerState.HELD]),
    }
)
breakers = st.sampled_from(
    ["", "", f'{{"pause_s": 60, "try_at": {NOW - 1}}}', f'{{"pause_s": 60, "try_at": {NOW - 1}, "trying": {TRY}}}']
)


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    waiting=st.lists(jobs, max_size=8),
    ready=st.sampled_from([[], [SMALL], [SMALL, SMALL], [LARGE], [SMALL, LARGE]]),
    busy=st.lists(st.integers(1, 2), max_size=2),
    breaker=breakers,
    why_drained=st.sampled_from(["", "", "", "new disks"]),
)
def test_those_begin_that_are_said_to_begin(
    controller: Controller, waiting: list[dict[str, Any]], ready: list[str], busy: list[int], breaker: str, why_drained: str
) -> None:
    forget(Conversion, Event, Worker, Job, StoredSetting)
    for number, row in enumerate(waiting, start=1):
        queue(number, row)
    for number, flavor in enumerate(ready):
        machine(f"pool-{number}", WorkerState.READY, None, flavor, 1 if flavor == SMALL else 2)
    for number, weight in enumerate(busy, start=TRY):
        job(number, JobState.PROVISIONING, owner="ada", flavor=SMALL, weight=weight, state_since=NOW)
        machine(f"job-{number}", WorkerState.CREATING, number, SMALL, weight)
    write_setting(NAME, breaker, Change(NOW))
    if why_drained:
        drain(why_drained, Change(NOW))
    situations = Situations(controller.settings, controller.storage, controller.flavors.max_weight)
    found = why_waiting(situations.beside(living_workers(), NOW))
    expected = {one.job.id for one in found if one.cause in BEGINS}
    controller.loop._admission.admit(living_workers(), NOW)
    begun = {event.subject_id for event in Event.select().where(Event.new == JobState.PROVISIONING)}
    assert begun == expected


def forget(*tables: type[Row]) -> None:
    for table in tables:
        table.delete().execute()


def queue(number: int, row: dict[str, Any]) -> None:
    fields = dict(row)
    needs, has = fields.pop("needs"), fields.pop("machine")
    job(number, JobState.QUEUED, **fields)
    if needs:
        Conversion.create(job_id=number, number=0, name="a.raw", key=needs * 64)
    if has:
        machine(f"job-{number}", has, number, SMALL, 1)


def job(number: int, state: JobState, **fields: object) -> None:
    others = {"app": "probe_1.0", "settings": "{}", "folder": f"Job_{number}", "outcome": "", "created": 1.0}
    Job.insert(id=number, state=state, attempt=1, **others, **fields).execute()


def machine(name: str, state: WorkerState, of: int | None, flavor: str, weight: int) -> None:
    since = {"state_since": NOW, "created": NOW}
    Worker.insert(name=name, state=state, job_id=of, attempt=1, flavor=flavor, weight=weight, **since).execute()
