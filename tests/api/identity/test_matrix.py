"""Every route × every kind of caller, by the table in matrix.py."""

from typing import Any

import pytest
from flask import Flask

from cumulus_client.operations import PREFIX
from server.app import Controller
from server.application import create_app
from server.db.models import Job
from server.states import JobState
from tests.api.identity.accounts import ADA, BOB, MEG, ROOT
from tests.api.identity.conftest import TRUSTED, UNTRUSTED, Caller
from tests.api.identity.matrix import CALLERS, ROWS, Row, word_of
from tests.api.identity.operations_matrix import ROWS as OPERATION_ROWS
from tests.api.identity.worlds import NEW_PASSWORD, PASSWORDS, DatabaseWorld, MemoryWorld, World
from tests.conftest import submission

NAMELESS = ("anonymous", "user", "other", "manager", "admin", "agent", "revoked", "expired")  # programs, not the desktop client


@pytest.fixture(params=[MemoryWorld, DatabaseWorld])
def world(request: pytest.FixtureRequest, controller: Controller) -> World:
    """Both kinds of accounts; those of the database once that is open."""
    made: World = request.param()
    return made


@pytest.fixture
def app(controller: Controller, world: World) -> Flask:
    return create_app(controller, world.accounts)


def calling(app: Flask, world: World, kind: str) -> Caller:
    """One kind of caller."""
    caller = Caller(app, TRUSTED if kind == "trusted" else UNTRUSTED, world.tokens.get(kind, ""))
    if kind in NAMELESS:
        del caller.headers["User-Agent"]
        caller.client.environ_base.pop("HTTP_USER_AGENT", None)
    if kind == "session":
        logged_in = caller.post("/api/v1/session", json={"name": ADA, "password": PASSWORDS[ADA]})
        caller.headers |= {"X-CSRF-Token": logged_in.get_json()["csrf"], "Sec-Fetch-Site": "same-origin"}
    return caller


def job_of_adas(controller: Controller, *, ended: bool) -> Job:
    job = controller.jobs.submit(*submission(ADA))
    if ended:
        Job.update(state=JobState.DONE, outcome=JobState.DONE, started=job.created, ended=job.created + 5).where(
            Job.id == job.id
        ).execute()
        folder = controller.jobs.folder(job)
        (folder.path / "output").mkdir(exist_ok=True)
        (folder.path / "output" / "result.txt").write_text("a result")
    return job


def everything() -> list[tuple[int, str]]:
    return [(job.id, str(job.state)) for job in Job.select().order_by(Job.id)]


def asked(caller: Caller, world: World, method: str, row: Row, job: Job) -> Any:
    """The answer to what a row asks."""
    words = {"{job}": str(job.id), "{password}": PASSWORDS[ADA], "{new password}": NEW_PASSWORD}
    if "{secret}" in row.path or (row.json and "secret" in row.json):
        words["{invited}"], words["{secret}"] = world.invitation()

    def filled(text: str) -> str:
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        return text

    form, body = ({name: filled(text) for name, text in (given or {}).items()} for given in (row.form, row.json))
    given: dict[str, Any] = {"data": form} if form else {"json": body} if body else {}
    return caller.ask(method, filled(row.path), **given)


def test_every_route_has_a_row(app: Flask) -> None:
    routes = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", *({"OPTIONS"} if rule.provide_automatic_options else ())}
    }
    assert routes == {*ROWS, *((method, PREFIX + rule) for method, rule in OPERATION_ROWS)}


@pytest.mark.parametrize(("method", "rule"), list(ROWS), ids=[" ".join(key) for key in ROWS])
def test_each_caller_gets_what_the_table_says(app: Flask, controller: Controller, world: World, method: str, rule: str) -> None:
    (controller.storage.data / "shared.raw").write_text("spectra")
    row, found = ROWS[method, rule], {}
    for kind in CALLERS:
        job = job_of_adas(controller, ended=row.ended)
        caller, before = calling(app, world, kind), everything()
        found[kind] = word_of(asked(caller, world, method, row, job), row)
        if found[kind] != "ok":
            assert everything() == before, kind
    assert found == {kind: row.of(kind) for kind in CALLERS}


@pytest.mark.parametrize("kind", CALLERS)
def test_each_refusal_is_recorded_with_its_number(app: Flask, controller: Controller, world: World, kind: str) -> None:
    job = job_of_adas(controller, ended=False)
    row = ROWS["GET", "/cancel/<owner>/<job_id>"]
    caller, before = calling(app, world, kind), len(world.recorded())
    answer = asked(caller, world, "GET", row, job)
    (line,) = world.recorded()[before:]
    assert line["address"] == caller.address
    assert line["request_id"] == answer.headers["X-Request-Id"] != ""
    if row.of(kind) == "ok":
        assert (line["outcome"], line["action"], line["subject"]) == ("ok", "job_cancel", f"job {job.id}")
    else:
        assert (line["outcome"], line["subject"]) == ("refused", f"/cancel/ada/{job.id}")
        assert line["code"] in ("untrusted_network", "forbidden", "token_revoked", "token_expired")
    who = {"user": ADA, "other": BOB, "manager": MEG, "admin": ROOT, "agent": "agent"}.get(kind, ADA)
    assert line["who"] == who
