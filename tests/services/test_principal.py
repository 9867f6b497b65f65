"""Who may do what is decided in the services, whoever asks through which door."""

from collections.abc import Callable

import pytest

from cumulus_client.jobs import JobsQuery
from server.app import Controller
from server.db.models import Job
from server.errors import NotFound
from server.services.jobs.lookup import JobLookup
from server.services.principal import Established, Forbidden, Origin, Principal, Role, Scope, ScopeMissing
from server.services.queue import QueueService
from server.services.storage import StorageService
from server.states import JobState
from tests.conftest import state_of, submission

ADA, EVE, ROOT, AGENT = Principal.desktop("ada"), Principal.desktop("eve"), Principal.local_admin("root"), Principal.agent()


@pytest.fixture
def job(controller: Controller) -> Job:
    return controller.jobs.submit(*submission())


def test_how_somebody_is_known_stays_with_them() -> None:
    kinds = [Established.DESKTOP_CLAIM, Established.LOCAL_ADMIN, Established.LOCAL_USER, Established.AGENT]
    assert [one.established for one in (ADA, ROOT, Principal.local_user("ada"), AGENT)] == kinds
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
        lambda: queue.drained(who),
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
    assert [one.id for one in lookup.listed(EVE, JobsQuery()).jobs] == [job.id]
    assert lookup.details(ADA, job.id).owner == "ada"
    with pytest.raises(Forbidden):
        lookup.listed(AGENT, JobsQuery())
    with pytest.raises(NotFound):
        lookup.details(EVE, job.id)


def test_a_role_names_itself() -> None:
    with pytest.raises(Forbidden, match="only a user may do this"):
        AGENT.require(Role.USER)


def test_a_role_is_named_with_its_article() -> None:
    assert [role.described for role in Role] == ["a user", "a group manager", "an administrator", "an agent"]


def test_an_administrator_may_what_a_group_manager_may_and_not_the_other_way_round() -> None:
    ROOT.require(Role.GROUP_MANAGER)
    with pytest.raises(Forbidden, match="only an administrator may do this"):
        Principal("max", frozenset({Role.USER, Role.GROUP_MANAGER}), Established.SESSION).require(Role.ADMINISTRATOR)
    with pytest.raises(Forbidden, match="only a group manager may do this") as refused:
        ADA.require(Role.GROUP_MANAGER)
    assert (refused.value.code, refused.value.http_status) == ("forbidden", 403)


def a_member(scopes: frozenset[Scope] = frozenset(Scope)) -> Principal:
    teams = {"team": frozenset({"bob", "ada"}), "managed": frozenset({"cid"})}
    return Principal("ada", frozenset({Role.USER, Role.GROUP_MANAGER}), Established.TOKEN, scopes, **teams)


@pytest.mark.parametrize(
    ("owner", "sees", "uses"), [("ada", True, True), ("bob", True, False), ("cid", True, True), ("eve", False, False)]
)
def test_a_team_s_jobs_are_seen_and_those_of_managed_people_changed(owner: str, sees: bool, uses: bool) -> None:
    member = a_member()
    assert (member.may_see(owner), member.may_use(owner)) == (sees, uses)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("owner", ["ada", "bob", "cid", "eve"])
def test_a_scope_only_narrows(owner: str, scope: Scope) -> None:
    narrow, wide = a_member(frozenset({scope})), a_member()
    assert narrow.may_see(owner) == (scope is Scope.READ and wide.may_see(owner))
    assert narrow.may_use(owner) == (scope is Scope.SUBMIT and wide.may_use(owner))


def test_a_lacking_scope_is_named() -> None:
    a_member(frozenset({Scope.READ})).require_scope(Scope.READ)
    with pytest.raises(ScopeMissing, match="lacks the scope submit") as refused:
        a_member(frozenset({Scope.READ})).require_scope(Scope.SUBMIT)
    assert (refused.value.code, refused.value.http_status) == ("scope_missing", 403)


def test_where_a_request_came_from_makes_nobody_else_of_a_principal() -> None:
    there = ADA.asking_from(Origin("192.0.2.7", "r1"))
    assert (there, there.origin.address) == (ADA, "192.0.2.7")
    assert "192.0.2.7" not in repr(there)


def test_a_local_user_is_no_administrator() -> None:
    assert Principal.local_user("ada").roles == {Role.USER}
    assert not Principal.local_user("root").may_use("ada")
