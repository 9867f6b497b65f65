"""Each operation of the jobs family over the controller's Unix socket and without a controller: the answers are the same."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cumulus_client import Cumulus, Refused
from cumulus_client.jobs import JobsQuery
from server.api.v1.direct import DirectCaller
from server.app import Controller
from server.application import services_of
from server.db.models import Job
from server.db.transitions import Change, transition
from server.reasons import Reason
from server.services.principal import Principal
from server.states import JobState
from tests.api.v1.local import client_of
from tests.conftest import submission

ROOT = Principal.local_admin("root")
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
Ask = Callable[[Cumulus], Any]


@pytest.fixture
def over_http(controller: Controller) -> Iterator[Cumulus]:
    with client_of(controller) as cumulus:
        yield cumulus


@pytest.fixture
def direct(controller: Controller) -> Cumulus:
    return direct_as(controller, ROOT)


def direct_as(controller: Controller, who: Principal) -> Cumulus:
    return Cumulus(DirectCaller(services_of(controller), who))


@pytest.fixture
def jobs(controller: Controller) -> list[Job]:
    """One of ada's that is done with results, one of hers that failed, one of eve's that waits for its files."""
    done, failed, waiting = (
        controller.jobs.submit(*submission(owner, description=text))
        for owner, text in (("ada", "first trial"), ("ada", "second"), ("eve", "third trial"))
    )
    output = controller.storage.folder(done.folder).output
    (output / "sub").mkdir()
    (output / "sub" / "a b%41.txt").write_text("deep")
    Path(os.fsdecode(os.fsencode(output) + b"/\xff\n.txt")).write_bytes(b"0123456789")
    (controller.storage.folder(done.folder).path / ".cumulus.log").write_text("[INFO] one\n[INFO] two\n")
    Job.update(state=JobState.DONE, outcome=JobState.DONE, ended=done.created + 9, warning="few").where(
        Job.id == done.id
    ).execute()
    fields = {"reason": Reason.QUOTA_EXCEEDED, "message": "no quota", "outcome": JobState.FAILED, "ended": failed.created + 5}
    change = Change(failed.created + 5, reason=Reason.QUOTA_EXCEEDED)
    transition(Job, failed.id, JobState.UPLOADING, JobState.FAILED, change, fields)
    return [Job.get_by_id(one.id) for one in (done, failed, waiting)]


ASKED: dict[str, Ask] = {
    "jobs.list": lambda c: c.jobs.page(JobsQuery()),
    "jobs.list, one page": lambda c: c.jobs.page(JobsQuery(limit=2)),
    "jobs.list, filtered": lambda c: c.jobs.page(JobsQuery(owner="ad", state=["failed", "queued"], text="sec", app="probe")),
    "jobs.get": lambda c: c.jobs.get(1),
    "jobs.get, failed": lambda c: c.jobs.get(2),
    "jobs.log": lambda c: c.logs.part(1),
    "jobs.whole_log": lambda c: _read(c.logs.whole(1)),
    "jobs.results": lambda c: c.results.list(1),
    "jobs.result": lambda c: [_read(c.results.file(1, one)) for one in c.results.list(1).files],
    "jobs.result, a part": lambda c: [_read(c.results.file(1, one, 2)) for one in c.results.list(1).files],
    "records.get": lambda c: c.records.get(1),
    "records.compare": lambda c: c.records.compare(1, 2),
    "records.plan": lambda c: c.records.plan(1),
    "apps.list": lambda c: c.apps.list(),
    "apps.get": lambda c: c.apps.get("probe_1.0"),
    "apps.form": lambda c: c.apps.form("probe_1.0"),
    "apps.preview": lambda c: c.apps.preview("probe_1.0", {**FORM, "inputs": ["C:/a.dat"]}, 4),
    "workflows.list": lambda c: c.workflows.list(),
}


def _result(cumulus: Cumulus, url: str) -> bytes:
    file = cumulus.results.list(1).files[0]
    return _read(cumulus.results.file(1, file.model_copy(update={"url": url})))


def _read(opened: Any) -> bytes:
    with opened as stream:
        return b"".join(stream.parts())


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_the_same_over_the_socket_and_without_a_controller(
    over_http: Cumulus, direct: Cumulus, jobs: list[Job], name: str
) -> None:
    answered = ASKED[name](over_http)
    assert answered == ASKED[name](direct)
    assert answered or name == "workflows.list"


REFUSED: dict[str, tuple[Ask, str]] = {
    "a job that is not there": (lambda c: c.jobs.get(99), "not_found"),
    "results while there are none": (lambda c: c.results.list(3), "no_results"),
    "a result that is not there": (lambda c: _result(c, "x"), "not_found"),
    "a result elsewhere": (lambda c: _result(c, "%252E%252E/job.json"), "invalid_input"),
    "a retry of what is done": (lambda c: c.submissions.retry(1), "not_retried"),
    "a cancellation of what has ended": (lambda c: c.jobs.cancel(1), "already_ended"),
    "a cancellation of another owner's": (lambda c: c.jobs.cancel(3, "ada"), "not_found"),
    "an app that is not there": (lambda c: c.apps.get("none_1"), "not_found"),
    "a form that does not fit": (lambda c: c.apps.preview("probe_1.0", {"seconds": "x"}), "invalid_input"),
    "a workflow that is not there": (lambda c: c.workflows.get("none_1"), "not_found"),
    "a submission that does not fit": (lambda c: c.submissions.submit("probe_1.0", {"outcome": "maybe"}), "invalid_input"),
    "a place in a log that is none": (lambda c: c.logs.part(1, "!!!"), "invalid_input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_the_same_too_and_changes_nothing(over_http: Cumulus, direct: Cumulus, jobs: list[Job], name: str) -> None:
    ask, code = REFUSED[name]
    told = []
    for cumulus in (over_http, direct):
        with pytest.raises(Refused) as refused:
            ask(cumulus)
        told.append((refused.value.code, refused.value.message, refused.value.problem.field))
    assert told[0] == told[1]
    assert told[0][0] == code
    assert [one.state for one in Job.select().order_by(Job.id)] == [one.state for one in jobs]


CHANGES: dict[str, Ask] = {
    "jobs.submit": lambda c: c.submissions.submit("probe_1.0", FORM, flavor="m1.4xlarge", owner="ada").owner,
    "jobs.cancel": lambda c: c.jobs.cancel(3),
    "jobs.delete": lambda c: c.jobs.delete(1),
    "jobs.retry": lambda c: c.submissions.retry(2).owner,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("way", ["over_http", "direct"])
def test_a_change_is_made_either_way(request: pytest.FixtureRequest, jobs: list[Job], name: str, way: str) -> None:
    answered = CHANGES[name](request.getfixturevalue(way))
    expected = {"jobs.cancel": "Job 3 is cancelled", "jobs.delete": "Job 1 is deleted"}
    assert answered == expected.get(name, "ada")
    states = [one.state for one in Job.select().order_by(Job.id)]
    assert (
        states
        == {
            "jobs.submit": ["done", "failed", "uploading", "uploading"],
            "jobs.cancel": ["done", "failed", "cancelled"],
            "jobs.delete": ["deleted", "failed", "uploading"],
            "jobs.retry": ["done", "failed", "uploading", "uploading"],
        }[name]
    )


def test_a_list_goes_on_where_it_ended_whatever_comes_in(over_http: Cumulus, controller: Controller, jobs: list[Job]) -> None:
    first = over_http.jobs.page(JobsQuery(limit=2))
    controller.jobs.submit(*submission())
    rest = over_http.jobs.page(JobsQuery(limit=2, after=first.next))
    assert ([one.id for one in first.jobs], [one.id for one in rest.jobs], rest.next) == ([3, 2], [1], "")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"owner": "eve"}, [3]),
        ({"text": "trial"}, [3, 1]),
        ({"text": "tr"}, [3, 1]),
        ({"state": ["done"]}, [1]),
        ({"state": ["done", "failed"]}, [2, 1]),
        ({"app": "none"}, []),
        ({"created_from": 1e10}, []),
        ({"created_to": 1e10}, [3, 2, 1]),
        ({"ended_from": 1}, [2, 1]),
        ({"ended_from": 1e10}, []),
        ({"owner": "ada", "text": "trial", "state": ["done"], "ended_from": 1, "created_from": 1}, [1]),
    ],
)
def test_filters_are_combined(over_http: Cumulus, jobs: list[Job], filters: dict[str, Any], found: list[int]) -> None:
    assert [one.id for one in over_http.jobs.page(JobsQuery(**filters)).jobs] == found


def test_a_user_sees_the_own_jobs_and_those_of_the_team(controller: Controller, jobs: list[Job]) -> None:
    ada, eve = Principal.local_user("ada"), Principal.local_user("eve")
    bob = Principal.local_user("bob")
    team = Principal(eve.name, eve.roles, eve.established, team=frozenset({"ada"}))
    seen = {who: [one.id for one in direct_as(controller, who).jobs.list()] for who in (ada, eve, bob, team)}
    assert seen == {ada: [2, 1], eve: [3], bob: [], team: [3, 2, 1]}
    assert [one.id for one in direct_as(controller, team).jobs.list(text="trial", limit=1)] == [3]


OF_ONE_JOB = [name for name in ASKED if name.startswith(("jobs.get", "jobs.log", "jobs.whole", "jobs.result", "records"))]


@pytest.mark.parametrize("name", OF_ONE_JOB)
def test_what_one_may_not_see_is_not_there(controller: Controller, jobs: list[Job], name: str) -> None:
    with pytest.raises(Refused) as refused:
        ASKED[name](direct_as(controller, Principal.local_user("eve")))
    assert (refused.value.problem.status, refused.value.code) == (404, "not_found")
    assert refused.value.message in ("there is no job 1 of eve", "there is no job 2 of eve")


def test_a_team_sees_a_job_and_does_not_end_it(controller: Controller, jobs: list[Job]) -> None:
    eve = Principal.local_user("eve")
    cumulus = direct_as(controller, Principal("ada", eve.roles, eve.established, team=frozenset({"eve"})))
    assert cumulus.jobs.get(3).owner == "eve"
    for change in (cumulus.jobs.cancel, cumulus.jobs.delete):
        with pytest.raises(Refused, match="job 3 is eve's") as refused:
            change(3)
        assert refused.value.problem.status == 403


def test_a_log_that_grows_is_read_once(controller: Controller, over_http: Cumulus, jobs: list[Job]) -> None:
    job = jobs[2]
    first = over_http.logs.part(job.id)
    assert ("Job 3 was submitted" in first.text, first.is_final, first.state) == (True, False, "uploading")
    assert over_http.logs.part(job.id, first.cursor).text == ""
    with (controller.storage.folder(job.folder).path / ".cumulus.log").open("a") as log:
        log.write("a line\n")
    grown = over_http.logs.part(job.id, first.cursor)
    assert grown.text == "a line\n"
    controller.jobs.cancel(ROOT, job.id)
    ended = over_http.logs.part(job.id, grown.cursor)
    assert (ended.state, ended.is_final, ended.text, ended.is_done) == ("cancelled", True, "", False)


def test_a_part_of_a_result_is_given_only_of_the_content_that_was_listed(
    controller: Controller, over_http: Cumulus, direct: Cumulus, jobs: list[Job]
) -> None:
    for cumulus in (over_http, direct):
        file = cumulus.results.list(1).files[-1]
        assert file.name == b"\xff\n.txt"
        with cumulus.results.file(1, file, 4) as stream:
            assert (stream.start, b"".join(stream.parts())) == (4, b"456789")
        with cumulus.results.file(1, file.model_copy(update={"tag": "another"}), 4) as stream:
            assert (stream.start, b"".join(stream.parts())) == (0, b"0123456789")


def test_the_phases_of_a_run_are_in_order_and_without_a_gap(controller: Controller, over_http: Cumulus) -> None:
    job = controller.jobs.submit(*submission())
    now = job.created
    way = [JobState.QUEUED, JobState.PROVISIONING, JobState.STARTING, JobState.QUEUED, JobState.PROVISIONING, JobState.STARTING]
    state = JobState.UPLOADING
    for number, new in enumerate([*way, JobState.RUNNING, JobState.LOST, JobState.RUNNING, JobState.FINISHING, JobState.DONE], 1):
        transition(Job, job.id, state, new, Change(now + number))
        state = new
    found = over_http.jobs.get(job.id).phases
    assert [(one.name, one.attempt) for one in found] == [
        ("upload", 1),
        ("queued", 1),
        ("machine", 1),
        ("boot", 1),
        ("queued", 2),
        ("machine", 2),
        ("boot", 2),
        ("run", 2),
        ("save", 2),
    ]
    assert [one.ended for one in found[:-1]] == [one.began for one in found[1:]]
    assert (found[-2].ended, found[-1].ended) == (now + 10, now + 11)


def test_a_retry_has_the_settings_and_the_files_of_the_job(controller: Controller, over_http: Cumulus) -> None:
    form = '{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["/far/a.dat"]}'
    job = controller.jobs.submit(*submission(settings=form, description="why"))
    own = controller.storage.folder(job.folder).input / "a.dat"
    own.write_text("read")
    controller.jobs.cancel(ROOT, job.id)
    made = over_http.submissions.retry(job.id)
    new = Job.get_by_id(made.id)
    assert (new.owner, new.settings, new.description, new.flavor) == (job.owner, job.settings, "why", job.flavor)
    folder = controller.storage.folder(made.folder)
    assert ((folder.input / "a.dat").read_text(), folder.has_arrived()) == ("read", True)
    own.unlink()
    with pytest.raises(Refused, match=r"a\.dat is no longer kept with job 1") as refused:
        over_http.submissions.retry(job.id)
    assert (refused.value.problem.status, Job.select().count()) == (409, 2)


def test_a_key_makes_one_job_however_often_it_is_sent(controller: Controller, over_http: Cumulus) -> None:
    sent = {"flavor": "m1.4xlarge", "idempotency_key": "k-1"}
    first = over_http.submissions.submit("probe_1.0", FORM, **sent)
    again = over_http.submissions.submit("probe_1.0", dict(reversed(FORM.items())), **sent)
    assert ((again.id, again.is_new), first.is_new) == ((first.id, False), True)
    with pytest.raises(Refused, match="this key was used for job 1") as refused:
        over_http.submissions.submit("probe_1.0", {**FORM, "text": "other"}, **sent)
    assert (refused.value.problem.status, refused.value.problem.field) == (409, "idempotency_key")
    other = direct_as(controller, Principal.local_user("ada")).submissions.submit("probe_1.0", FORM, **sent)
    assert (other.is_new, Job.select().count()) == (True, 2)


def test_details_that_were_given_before_are_made_anew_where_a_file_is_another(
    controller: Controller, over_http: Cumulus, jobs: list[Job]
) -> None:
    folder = controller.storage.folder(jobs[0].folder)
    before = over_http.jobs.get(1)
    assert over_http.jobs.get(1) == before
    (folder.output / "new.txt").write_text("x")
    assert len(over_http.jobs.get(1).files) == len(before.files) + 1
    report = {"attempt": 0, "files": [{"name": "a.raw", "outcome": "ok", "message": "well"}]}
    (folder.path / "beside").write_text(json.dumps(report))
    (folder.path / "beside").rename(folder.path / ".cumulus.report")
    assert [one.message for one in over_http.jobs.get(1).per_file] == ["well"]
    log = over_http.logs.part(1)
    with (folder.path / ".cumulus.log").open("a") as file:
        file.write("more\n")
    assert over_http.logs.part(1, log.cursor).text == "more\n"
