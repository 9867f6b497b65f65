"""The administrator's operations over the controller's socket: who may use them, what they refuse, which threads answer."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from cumulus_client import queue as queue_api
from cumulus_client import workers as workers_api
from cumulus_client.operations import PREFIX
from server.api.http import LONG, SHORT, pool
from server.api.v1.installation import flavors as v1_flavors
from server.api.v1.installation import queue as v1_queue
from server.api.v1.installation import snapshots as v1_snapshots
from server.api.v1.installation import storage as v1_storage
from server.api.v1.installation import system as v1_system
from server.api.v1.installation import workers as v1_workers
from server.api.v1.installation import workspaces as v1_workspaces
from server.app import Controller
from server.application import create_app
from server.db.models import Event, Job, StoredSetting, Worker
from server.db.transitions import Change, create
from server.services.administration import Administration, AdministrationWiring
from server.services.principal import Principal
from server.states import JobState, WorkerState
from tests.api.v1.local import at_the_socket
from tests.conftest import submission

MODULES = (v1_flavors, v1_queue, v1_snapshots, v1_storage, v1_system, v1_workers, v1_workspaces)
OPERATIONS = [one.operation for module in MODULES for one in module.OPERATIONS]
FOR_USERS = {"queue.get", "workers.list", "flavors.list", "system.get", "storage.files", "storage.quota"}
OWN_FILES = {"storage.remove"}  # of users, who are told that there is no such file of theirs
PEER = "programs.peer_uid"
LOCAL = "http://localhost"
LONG_TEXT = "x" * 1001


@pytest.fixture
def http(controller: Controller) -> Iterator[httpx.Client]:
    """Whoever runs the controller, at its socket."""
    with (
        at_the_socket(controller) as path,
        httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost") as made,
    ):
        yield made


def asked_by(controller: Controller, uid: int, method: str, path: str, **given: Any) -> Any:
    """The answer to a user of the computer, as the door names them."""
    client = create_app(controller).test_client()
    return client.open(PREFIX + path, method=method, environ_overrides={PEER: uid}, **given)


def filled(path: str) -> str:
    return path.replace("{job}", "1").replace("{name}", "job-1").replace("{plan}", "0" * 32)


def given_for(name: str) -> dict[str, Any]:
    return {"queue.prioritize": {"priority": 1}, "storage.restore": {"name": "1"}}.get(name, {})


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_a_user_gets_an_answer_or_is_refused_and_changes_nothing(controller: Controller, operation: Any) -> None:
    controller.jobs.submit(*submission())
    before = state_of_everything()
    body = {"json": given_for(operation.name)} if operation.has_body else {}
    answer = asked_by(controller, 65534, operation.method, filled(operation.path), **body)
    if operation.name in FOR_USERS:
        assert answer.status_code == 200, answer.text
    elif operation.name in OWN_FILES:
        assert answer.status_code == 404, answer.text
    else:
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden"), answer.text
        assert answer.json["detail"] == "only an administrator may do this"
    assert state_of_everything() == before


def state_of_everything() -> list[Any]:
    tables: tuple[Any, ...] = (Job, Worker, StoredSetting)
    rows: list[Any] = [[tuple(vars(row)["__data__"].items()) for row in table.select()] for table in tables]
    return [*rows, Event.select().count()]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_changes_need_the_scope_of_an_administrator_and_lists_do_not(operation: Any) -> None:
    reads = operation.method == "GET" or operation.name == "storage.plan"
    assert operation.scope == ("read" if reads else "submit" if operation.name in OWN_FILES else "admin")


def numbers(name: str, *more: Any) -> list[tuple[str, Any]]:
    return [(name, value) for value in ("x", 1.5, None, [], {}, 10**30, *more)]


NAMES = ["Job-1", "job 1", "job-1%0A", "a" * 80, "-rf", "job_1", "Jöb"]
BAD: list[tuple[str, str, dict[str, Any], str]] = [
    *(("PUT", f"/jobs/{job}/priority", {"priority": 1}, "job") for job in ("x", "0", "-1", "1.5", "1" + "0" * 15)),
    *(("PUT", "/jobs/1/priority", {name: value}, name) for name, value in numbers("priority", 101, -101)),
    ("PUT", "/jobs/1/priority", {}, "priority"),
    ("PUT", "/jobs/1/priority", {"priority": 1, "urgent": True}, "urgent"),
    *(("POST", f"/jobs/{job}/hold", {}, "job") for job in ("x", "0", "-1", "1.5", "1" + "0" * 15)),
    *(("POST", "/jobs/1/hold", {"hours": hours}, "hours") for hours in ("x", -1, 721, None, [], {}, "nan", "inf")),
    ("POST", "/jobs/1/hold", {"until": 1}, "until"),
    *(("DELETE", f"/jobs/{job}/hold", {}, "job") for job in ("x", "0", "-1")),
    *(("POST", "/queue/drain", {"reason": reason}, "reason") for reason in (LONG_TEXT, 7, None, [], {})),
    ("POST", "/queue/drain", {"why": "disks"}, "why"),
    ("POST", "/queue/resume", {"reason": "disks"}, "reason"),
    *(("POST", f"/workspaces/{name}/{act}", {}, "name") for name in NAMES for act in ("unlock", "forget", "destroy")),
    *(("GET", f"/workspaces/{name}/{act}", {}, "name") for name in NAMES for act in ("lock", "drift", "removal")),
    *(
        ("POST", f"/workspaces/job-1/{act}", {"force": force}, "force")
        for act in ("unlock", "forget", "destroy")
        for force in ("maybe", 2, None, [], {})
    ),
    *(("POST", f"/workspaces/job-1/{act}", {"yes": True}, "yes") for act in ("unlock", "forget", "destroy")),
    *(("GET", f"/workspaces/job-1/drift?limit_s={limit}", {}, "limit_s") for limit in ("x", "0", "-1", "301", "nan", "inf", "")),
    ("GET", "/workspaces/job-1/drift?limit=1", {}, "limit"),
    ("GET", "/workspaces?all=1", {}, "all"),
    *(("GET", f"/flavors?with_quota={value}", {}, "with_quota") for value in ("maybe", "2", "")),
    ("GET", "/flavors/comparison?write=true", {}, "write"),
    ("POST", "/flavors/sync", {"write": True}, "write"),
    *(("POST", "/storage/cleaning", {"is_dry": value}, "is_dry") for value in ("maybe", 2, None, [], {})),
    *(("POST", f"/storage/cleaning/{plan}", {}, "plan") for plan in ("x", "0" * 31, "0" * 33, "G" * 32, "Ä" * 32)),
    *(("POST", "/storage/restore", {"name": name}, "name") for name in ("", LONG_TEXT, 7, None, [], {})),
    ("POST", "/storage/restore", {}, "name"),
    *(("POST", "/snapshots/prune", {name: value}, name) for name, value in numbers("keep", 0, -1, 1_000_001)),
    ("POST", "/snapshots/rollback", {"to": "older"}, "to"),
    ("POST", "/orphans/remove", {"all": True}, "all"),
    ("GET", "/system?verbose=1", {}, "verbose"),
]


def test_each_field_is_checked_and_named_and_nothing_has_changed(http: httpx.Client, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    Job.update(state=JobState.QUEUED).where(Job.id == job.id).execute()
    before = state_of_everything()
    wrong = []
    for method, path, body, field in BAD:
        answer = http.request(method, PREFIX + path, **({} if method in ("GET", "DELETE") else {"json": body}))
        problem = answer.json()
        found = answer.status_code, answer.headers["Content-Type"], problem.get("code"), problem.get("field")
        if found != (422, "application/problem+json", "invalid_input", field):
            wrong.append((method, path, body, found, answer.text))
    assert wrong == []
    assert state_of_everything() == before
    assert len(BAD) > 100


def test_an_owner_sees_the_own_jobs_and_machines_with_their_place(controller: Controller) -> None:
    jobs = [controller.jobs.submit(*submission(owner)) for owner in ("ada", "eve", "ada")]
    Job.update(state=JobState.QUEUED).execute()
    controller.jobs.submit(*submission("eve"))
    fields = {"flavor": "m1.4xlarge", "weight": 1, "state": WorkerState.DELETING}
    for job in jobs[:2]:
        create(Worker, Change(1.0), name=f"job-{job.id}", job_id=job.id, **fields)
    create(Worker, Change(1.0), name="pool-1", **{**fields, "attempt": 0})
    services = Administration(controller.settings, AdministrationWiring(access=unused))
    ada, root = Principal.desktop("ada"), Principal.local_admin("root")
    own, all_of_it = services.queue.view(ada), services.queue.view(root)
    assert {one.owner for one in own.waiting} == {"ada"}
    assert len(own.waiting) == 2
    places = {one.job: one.position for one in all_of_it.waiting}
    assert sorted(places.values()) == [1, 2, 3]
    assert {one.job: one.position for one in own.waiting} == {job.id: places[job.id] for job in (jobs[0], jobs[2])}
    assert (own.uploading, len(all_of_it.uploading)) == ([], 1)
    machines = Administration(controller.settings, AdministrationWiring(access=lambda: SimpleNamespace())).machines  # type: ignore[arg-type,return-value]
    assert [one.name for one in machines.listed(ada)] == [f"job-{jobs[0].id}"]
    assert len(machines.listed(root)) == 3


def unused() -> Any:
    raise AssertionError("the cloud is not asked")


def test_nobody_knows_when_a_job_starts_while_no_controller_runs(controller: Controller) -> None:
    controller.jobs.submit(*submission())
    Job.update(state=JobState.QUEUED).execute()
    queue = Administration(controller.settings, AdministrationWiring(access=unused)).queue
    assert [one.expected_start for one in queue.view(Principal.local_admin("root")).waiting] == [None]


def test_a_job_that_is_next_starts_now_where_a_controller_runs(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    job = controller.jobs.submit(*submission())
    Job.update(state=JobState.QUEUED).where(Job.id == job.id).execute()
    monkeypatch.setattr("server.services.queue.running_controller", lambda _home: object())
    service = Administration(controller.settings, AdministrationWiring(access=unused)).queue
    (one,) = service.view(Principal.local_admin("root")).waiting
    assert one.expected_start is not None
    assert abs(one.expected_start - time.time()) < 60


def test_what_may_take_long_has_threads_of_its_own() -> None:
    for operation in OPERATIONS:
        request = SimpleNamespace(
            body_bytes_received=0, streamed_bytes=False, command=operation.method, path=PREFIX + filled(operation.path)
        )
        assert pool(request) == (LONG if operation.takes_long else SHORT), operation.name
    assert {queue_api.GET.takes_long, workers_api.LIST.takes_long, workers_api.ORPHANS.takes_long} == {False, True}


def test_the_installation_describes_itself(http: httpx.Client, controller: Controller) -> None:
    found = http.get(f"{PREFIX}/system").json()
    assert (found["cloud"], found["home"], found["damage"]) == ("local", str(controller.settings.home), "")
    assert found["schema_version"] >= 10
    assert found["installation"]


def test_the_sizes_come_with_what_is_free_of_them(http: httpx.Client) -> None:
    create(Worker, Change(1.0), name="pool-1", flavor="m1.8xlarge", weight=2, attempt=0, state=WorkerState.READY)
    found = http.get(f"{PREFIX}/flavors", params={"with_quota": "true"}).json()
    assert (found["max_weight"], found["used"], found["quotas"], found["unknown"]) == (4, 2, [], "")
