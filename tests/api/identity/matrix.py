"""The table of who may ask what: each route × each kind of caller. A route without a row fails the test.

A row is what is asked, about a job of ada's, and one word for each caller, in the order of CALLERS:

- ``ok``: it is done, or given
- ``no``: 200 in the route's documented empty shape, with ``Cumulus-Refused``: the desktop client would wait for ever on another
- a number: that status, and nothing done
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.client import REFUSED
from tests.api.identity.accounts import ADA

CALLERS = (
    "anonymous",
    "user",
    "other",
    "manager",
    "admin",
    "agent",
    "session",
    "trusted",
    "untrusted",
    "revoked",
    "expired",
)
START_FORM = {
    "username": ADA,
    "app_name": "probe_1.0",
    "strategy": "m1.4xlarge",
    "settings": '{"text": "hello", "seconds": "0", "outcome": "ok"}',
}


@dataclass(frozen=True)
class Row:
    """One route. ``path``, ``form``, ``json``: what is asked; ``{job}`` stands for the job's number, ``{secret}`` for that
    of a link, for the user ``{invited}``.

    ``empty``: what the desktop client gets where it is refused; ``ended``: whether the job must have ended before.
    """

    path: str
    expected: str
    form: dict[str, str] = field(default_factory=dict)
    json: dict[str, str] | None = None
    empty: Callable[[Any], bool] = lambda answer: answer == []
    ended: bool = False

    def of(self, caller: str) -> str:
        """What this caller is to get."""
        words = self.expected.split()
        assert len(words) == len(CALLERS), self.path
        return words[CALLERS.index(caller)]


def is_sentence(answer: Any) -> bool:
    return isinstance(answer, str) and "trusted_networks" in answer


def is_start(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) == 2 and is_sentence(answer[0]) and answer[1] == ""


EVERYBODY = "ok ok ok ok ok ok ok ok ok 401 401"
OWNERS = "403 ok 403 ok ok 403 no ok no 401 401"
OWNERS_FILES = "403 ok 403 ok ok 403 403 ok 403 401 401"
KNOWN = "403 ok ok ok ok ok no ok no 401 401"
LOG_IN = "ok ok ok ok ok ok ok ok ok ok ok"
NOBODY = "401 401 401 401 401 401 401 401 401 401 401"

#       caller   anonymous user other manager admin agent session trusted untrusted revoked expired
ROWS: dict[tuple[str, str], Row] = {
    ("GET", "/config"): Row("/config", EVERYBODY),
    ("GET", "/info"): Row("/info", EVERYBODY),
    ("GET", "/apps"): Row("/apps", EVERYBODY),
    ("GET", "//apps"): Row("//apps", EVERYBODY),
    ("GET", "/joblist/<shown>/<number>"): Row("/joblist/{job}/100", "403 403 403 403 ok ok no ok no 401 401"),
    ("GET", "/joblist/<shown>/<number>/"): Row("/joblist/{job}/100/", "403 403 403 403 ok ok no ok no 401 401"),
    ("POST", "/search"): Row("/search", "403 403 403 403 ok 403 no ok no 401 401", form={"owner": ADA}),
    ("GET", "/storage"): Row("/storage", KNOWN),
    ("GET", "/diskusage"): Row("/diskusage", KNOWN, empty=lambda answer: answer == [0, 0, 0]),
    ("POST", "/getfilecontent"): Row("/getfilecontent", KNOWN, form={"username": ADA, "names": '["shared.raw"]'}),
    ("POST", "/start"): Row("/start", OWNERS, form=START_FORM, empty=is_start),
    ("GET", "/cancel/<owner>/<job_id>"): Row("/cancel/ada/{job}", OWNERS, empty=is_sentence),
    ("GET", "/delete/<owner>/<job_id>"): Row("/delete/ada/{job}", OWNERS, empty=is_sentence, ended=True),
    ("GET", "/getresults/<owner>/<job_id>/<path:path>"): Row("/getresults/ada/{job}/result.txt", OWNERS_FILES, ended=True),
    ("GET", "/log/<owner>/<job_id>"): Row("/log/ada/{job}", OWNERS_FILES, ended=True),
    ("GET", "/getfile/<owner>/<path:path>"): Row("/getfile/ada/shared.raw", OWNERS_FILES),
    ("POST", "/fail"): Row(
        "/fail", "403 403 403 403 403 ok 403 ok 403 401 401", form={"job_id": "{job}", "error_message": "it is not there"}
    ),
    ("GET", "/healthz"): Row("/healthz", LOG_IN),
    ("GET", "/metrics"): Row("/metrics", "401 403 403 403 ok 403 401 ok 401 401 401"),
    ("GET", "/api/v1/session"): Row("/api/v1/session", "401 ok ok ok ok ok ok 401 401 401 401"),
    ("POST", "/api/v1/session"): Row("/api/v1/session", LOG_IN, json={"name": ADA, "password": "{password}"}),
    ("DELETE", "/api/v1/session"): Row("/api/v1/session", "401 401 401 401 401 401 ok 401 401 401 401"),
    ("POST", "/api/v1/session/link"): Row(
        "/api/v1/session/link", LOG_IN, json={"secret": "{secret}", "name": "{invited}", "password": "{new password}"}
    ),
    ("GET", "/api/v1/oidc/login"): Row("/api/v1/oidc/login", "404 404 404 404 404 404 404 404 404 404 404"),
    ("GET", "/api/v1/oidc/callback"): Row("/api/v1/oidc/callback?code=x&state=y", NOBODY),
    ("GET", "/login/link"): Row("/login/link?secret={secret}", EVERYBODY.replace("401", "ok")),
    ("POST", "/login/link"): Row(
        "/login/link?secret={secret}",
        LOG_IN,
        form={"name": "{invited}", "password": "{new password}", "again": "{new password}"},
    ),
}


def word_of(answer: Any, row: Row) -> str:
    """Which word of the table an answer is; it must have the shape that goes with it."""
    if answer.status_code >= 400:
        assert answer.headers["X-Request-Id"]
        assert answer.status_code != 401 or answer.headers["WWW-Authenticate"].startswith("Bearer")
        return str(answer.status_code)
    if REFUSED not in answer.headers:
        return "ok"
    assert answer.status_code == 200
    assert row.empty(answer.get_json()), answer.text
    return "no"
