"""Every operation of the API × every kind of caller, by the table in operations_matrix.py."""

import base64
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from cumulus_client.operations import PREFIX
from programs.http.unix_door import PEER_UID
from server.app import Controller
from server.application import create_app
from server.db.models import Job, Upload
from server.services.principal import Principal
from server.states import JobState
from tests.api.identity.accounts import ADA
from tests.api.identity.conftest import TRUSTED, UNTRUSTED, Caller
from tests.api.identity.operations_matrix import BATCH, CALLERS, FORM, ROWS, Row
from tests.api.identity.worlds import PASSWORDS, DatabaseWorld
from tests.conftest import submission
from tests.database_contents import contents

NOBODY = 65534  # a user of this computer who is nobody of the accounts


@pytest.fixture
def world(controller: Controller) -> DatabaseWorld:
    assert controller.database
    return DatabaseWorld()


@pytest.fixture
def app(controller: Controller, world: DatabaseWorld) -> Flask:
    return create_app(controller, world.accounts)


class Things:
    """Ada's jobs, batch, preset, upload and token, and a user who may be changed: what the words of the table stand for."""

    def __init__(self, controller: Controller, app: Flask, world: DatabaseWorld) -> None:
        self._controller = controller
        self._world = world
        self._ada = Caller(app, UNTRUSTED, world.tokens["user"])
        (controller.storage.data / "shared.dat").write_text("spectra")

    def for_(self, row: Row) -> dict[str, str]:
        """The things that a row names, each made anew."""
        text = f"{row.path} {row.body}"
        makers = {"job": self._job, "ended": self._ended, "failed": self._failed, "user": self._user, "token": self._token}
        makers |= {"batch": self._batch, "upload": self._upload}
        found = {name: str(make()) for name, make in makers.items() if f"{{{name}}}" in text}
        if "/presets/mine" in row.path:
            self._asked("PUT", "/presets/mine", {"app": "probe_1.0", "form": FORM})
        return found

    def _asked(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        answer = self._ada.ask(method, PREFIX + path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.get_json()

    def _job(self, state: JobState | None = None) -> int:
        job = self._controller.jobs.submit(*submission(ADA))
        if state is not None:
            times = {"started": job.created, "ended": job.created + 5}
            Job.update(state=state, outcome=state, **times).where(Job.id == job.id).execute()
            folder: Path = self._controller.jobs.folder(job).path
            (folder / "output").mkdir(exist_ok=True)
            (folder / "output" / "result.txt").write_text("a result")
        return int(job.id)

    def _ended(self) -> int:
        return self._job(JobState.DONE)

    def _failed(self) -> int:
        return self._job(JobState.FAILED)

    def _batch(self) -> int:
        return int(self._asked("POST", "/batches", BATCH)["batch"])

    def _upload(self) -> str:
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", "Upload-Metadata": f"filename {self._name()}"}
        answer = self._ada.post(f"{PREFIX}/uploads", headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["id"])

    def _name(self) -> str:
        return base64.b64encode(f"file{Upload.select().count()}.dat".encode()).decode()

    def _token(self) -> int:
        made = self._world.services.tokens.create(Principal.local_admin("root"), "other", ("read",), days=30, owner=ADA)
        return made.view.id

    def _user(self) -> str:
        return self._world.invitation()[0]


def calling(app: Flask, world: DatabaseWorld, kind: str) -> Caller:
    """One kind of caller."""
    caller = Caller(app, TRUSTED if kind == "trusted" else UNTRUSTED, world.tokens.get(kind, ""))
    if kind in ("session", "forged"):
        logged_in = caller.post(f"{PREFIX}/session", json={"name": ADA, "password": PASSWORDS[ADA]})
        if kind == "session":
            caller.headers |= {"X-CSRF-Token": logged_in.get_json()["csrf"], "Sec-Fetch-Site": "same-origin"}
    return caller


def filled(given: Any, things: dict[str, str]) -> Any:
    """The words' meanings in their places; a job's number in a body is one."""
    if isinstance(given, dict):
        return {name: filled(value, things) for name, value in given.items()}
    if not isinstance(given, str):
        return given
    if given == "{job}":
        return int(things["job"])
    for name, meaning in things.items():
        given = given.replace(f"{{{name}}}", meaning)
    return given


def asked(app: Flask, controller: Controller, world: DatabaseWorld, method: str, rule: str, kind: str) -> None:
    """Ask as one kind of caller, about things that are made anew; see that the answer is the table's."""
    row = ROWS[method, rule]
    things = Things(controller, app, world).for_(row)
    caller, path = calling(app, world, kind), PREFIX + row.path.format_map(things)
    before = contents()
    given: dict[str, Any] = {"data": row.data} if row.body is None else {"json": filled(row.body, things)}
    environ = {PEER_UID: NOBODY} if kind == "local" else {}
    answer = caller.ask(method, path, headers=row.headers, environ=environ, **given)
    assert answer.status_code == row.of(kind, method), f"{kind}: {answer.text}"
    if answer.status_code >= 400:
        assert answer.mimetype == "application/problem+json"
        assert contents() == before, kind
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def changes(method: str, kind: str, row: Row) -> bool:
    return method not in ("GET", "HEAD", "OPTIONS") and row.of(kind, method) < 400


@pytest.mark.parametrize(("method", "rule"), list(ROWS), ids=[" ".join(key) for key in ROWS])
def test_whoever_changes_nothing_gets_what_the_table_says(
    app: Flask, controller: Controller, world: DatabaseWorld, method: str, rule: str
) -> None:
    for kind in CALLERS:
        if not changes(method, kind, ROWS[method, rule]):
            asked(app, controller, world, method, rule, kind)


@pytest.mark.parametrize(
    ("method", "rule", "kind"),
    [(*key, kind) for key, row in ROWS.items() for kind in CALLERS if changes(key[0], kind, row)],
)
def test_whoever_may_changes_it(
    app: Flask, controller: Controller, world: DatabaseWorld, method: str, rule: str, kind: str
) -> None:
    asked(app, controller, world, method, rule, kind)
