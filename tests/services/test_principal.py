"""Who may do what is decided in the services, whoever asks through which door."""

from collections.abc import Callable

import pytest

from server.app import Controller
from server.db.models import Job
from server.errors import NotFound
from server.services.jobs.lookup import JobLookup
from server.services.principal import Established, Forbidden, Principal, Role
from server.services.queue import QueueService
from server.services.storage import StorageService
from server.states import JobState
from tests.conftest import state_of, submission

ADA, EVE, ROOT, AGENT = Principal.desktop("ada"), Principal.desktop("eve"), Principal.local_admin("root"), Principal.agent()
LOCAL = Principal.local_user("ada")


@pytest.fixture
def job(controller: Controller) -> Job:
    return controller.jobs.submit(*submission())


def test_how_somebody_is_known_stays_with_them() -> None:
    assert [one.established for one in (ADA, ROOT, LOCAL, AGENT)] == list(Established)
    assert (ADA.may_use("ada"), ADA.may_use("eve"), ROOT.may_use("ada"), AGENT.may_use("agent")) == (True, False, True, False)


def test_a_user_ends_and_deletes_only_the_own_jobs(controller: Controller, job: Job) -> None:
    for act in (controller.jobs.cancel, controller.jobs.delete, controller.jobs.get):
        with pytest.raises(NotFound, match=f"there is no job {job.id} of eve"):
            act(EVE, job.id)
    assert state_of(job.id) == JobState.UPLOADING
    assert "is cancelled" in controller.jobs.cancel(ADA, job.id)


def test_an_administrator_may_use_every_job(controller: Controller, job: Job) -> None:
    assert controller.jobs.get(ROOT, job.id).owner == "ada"
    assert "is cancelled" in controller.jobs.cancel(ROOT, job.id)
    assert "is deleted" in controller.jobs.delete(ROOT, job.id)
    assert "was deleted before" in controller.jobs.delete(ROOT, job.id)
    with pytest.raises(NotFound, match=r"there is no job 99$"):
        controller.jobs.get(ROOT, 99)


def test_an_agent_reports_and_does_nothing_else(controller: Controller, job: Job) -> None:
    with pytest.raises(Forbidden):
        controller.jobs.submit(AGENT, submission()[1])
    with pytest.raises(NotFound):
        controller.jobs.cancel(AGENT, job.id)
    with pytest.raises(Forbidden, match="only an agent"):
        controller.jobs.fail(ADA, job.id, "no such file")
    controller.jobs.fail(AGENT, job.id, "no such file")
    assert state_of(job.id) == JobState.FAILED


@pytest.mark.parametrize("who", [ADA, AGENT], ids=lambda one: one.name)
def test_what_is_the_administrators_is_nobody_elses(controller: Controller, job: Job, who: Principal) -> None:
    queue, storage = QueueService(controller.settings), StorageService(controller.settings)
    acts: list[Callable[[], object]] = [
        lambda: queue.view(who),
        lambda: queue.drain(who, ""),
        lambda: queue.resume(who),
        lambda: queue.set_priority(who, job.id, 1),
        lambda: storage.usage(who),
        lambda: storage.trash(who),
        lambda: storage.restore(who, "1"),
    ]
    for act in acts:
        with pytest.raises(Forbidden, match="only an administrator"):
            act()


def test_everybody_but_an_agent_sees_the_list_of_jobs(controller: Controller, job: Job) -> None:
    lookup = JobLookup(controller.storage)
    assert [one.id for one in lookup.newest(EVE)] == [job.id]
    assert lookup.details(EVE, job.id).owner == "ada"
    with pytest.raises(Forbidden):
        lookup.newest(AGENT)


def test_a_role_names_itself() -> None:
    with pytest.raises(Forbidden, match="only a user may do this"):
        AGENT.require(Role.USER)
