"""Who asks: by the kernel's word, by the network, by a proxy's; and what is recorded of it."""

import os
from typing import Any

import pytest
import structlog
from flask import Flask, request
from structlog.testing import capture_logs

from programs.errors import user_name
from server.api.identity.accounts import Accounts
from server.api.identity.identification import PEER_UID, Identification
from server.api.identity.rate_limits import RateLimits
from server.app import Controller
from server.application import create_app
from server.db.errors import DatabaseError
from server.errors import CumulusError
from server.services.principal import Established, Principal, Role
from server.settings import Settings
from tests.api.identity.accounts import MemoryAccounts, MemoryAudit
from tests.api.identity.conftest import DESKTOP_AGENT, TRUSTED, UNTRUSTED, Caller
from tests.api.serving import listening
from tests.api.test_desktop import Wire
from tests.conftest import submission

PROXY = "10.0.0.1"
OTHER_UID = 4321


@pytest.fixture
def identification(settings: Settings) -> Identification:
    return Identification(settings, MemoryAccounts(), RateLimits(settings), own_uid=1000, login_of=lambda uid: f"user{uid}")


def identified(app: Flask, identification: Identification, **environ: Any) -> Principal | str:
    """Who asks, or the code of the refusal."""
    with app.test_request_context("/x", environ_overrides={"REMOTE_ADDR": "", **environ}):
        app.preprocess_request()
        try:
            return identification.identify(request)
        except CumulusError as error:
            return error.code


@pytest.mark.parametrize(
    ("uid", "how", "is_administrator"),
    [
        (0, Established.LOCAL_ADMIN, True),
        (1000, Established.LOCAL_ADMIN, True),
        (OTHER_UID, Established.LOCAL_USER, False),
    ],
)
def test_the_kernel_says_who_asks_over_a_unix_socket(
    app: Flask, identification: Identification, uid: int, how: Established, is_administrator: bool
) -> None:
    found = identified(app, identification, **{PEER_UID: uid})
    assert isinstance(found, Principal)
    assert (found.name, found.established, found.is_administrator) == (f"user{uid}", how, is_administrator)


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA"])
def test_what_a_proxy_asks_over_the_socket_is_not_asked_by_its_user(
    app: Flask, identification: Identification, header: str
) -> None:
    """A proxy that runs as root would make everybody an administrator."""
    seen = []
    app.add_url_rule("/seen", "seen", lambda: str(seen.append(_refusal(identification))))
    Caller(app, "").get("/seen", environ={PEER_UID: 0, header: "x"})
    Caller(app, "").get("/seen", environ={PEER_UID: 0})
    assert seen == ["unauthenticated", ""]


def _refusal(identification: Identification) -> str:
    try:
        identification.identify(request)
    except CumulusError as error:
        return error.code
    return ""


def test_a_header_is_no_kernels_word(app: Flask, identification: Identification) -> None:
    assert (
        identified(app, identification, **{f"HTTP_{PEER_UID.upper()}": "0", "HTTP_PROGRAMS_PEER_UID": "0"}) == "unauthenticated"
    )


def test_the_controllers_own_user_is_the_administrator(settings: Settings, app: Flask) -> None:
    found = identified(app, Identification(settings, MemoryAccounts(), RateLimits(settings)), **{PEER_UID: os.geteuid()})
    assert found == Principal.local_admin(user_name(os.geteuid()))


def test_the_network_alone_is_no_identity_for_the_api(app: Flask, identification: Identification) -> None:
    assert identified(app, identification, REMOTE_ADDR=TRUSTED) == "unauthenticated"


def test_a_token_counts_before_a_cookie(app: Flask, identification: Identification, accounts: MemoryAccounts) -> None:
    found = identified(app, identification, HTTP_AUTHORIZATION="Bearer cml_bob", HTTP_COOKIE="cumulus=x")
    assert isinstance(found, Principal)
    assert (found.name, found.roles) == ("bob", {Role.USER})


def over_tcp(controller: Controller, headers: dict[str, str]) -> str:
    """Why a desktop client is refused over a real socket; "" where it is not."""
    with listening(controller) as port:
        status, answered, body = Wire(port).send("GET", "/joblist/0/100", headers={"User-Agent": DESKTOP_AGENT, **headers})
    assert status == 200
    assert (body == b"[]\n") == ("cumulus-refused" in answered) or not answered.get("cumulus-refused")
    return answered.get("cumulus-refused", "")


FORWARDED = [
    {"X-Forwarded-For": "203.0.113.9"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"Via": "1.1 proxy"},
    {"X-Real-IP": "127.0.0.1"},
]


@pytest.mark.parametrize("headers", FORWARDED, ids=str)
def test_a_proxy_on_this_computer_that_nobody_has_declared_makes_nobody_trusted(
    settings: Settings, controller: Controller, headers: dict[str, str]
) -> None:
    assert over_tcp(controller, {}) == ""
    assert over_tcp(controller, headers) == "untrusted_network"


class TestBehindADeclaredProxy:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"trusted_proxies": ("127.0.0.1/32",), "trusted_networks": ("192.0.2.0/24",)})

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ({"X-Forwarded-For": "192.0.2.7"}, ""),
            ({"Forwarded": "for=192.0.2.7"}, ""),
            ({"X-Forwarded-For": "203.0.113.9"}, "untrusted_network"),
            ({"X-Forwarded-For": "192.0.2.7, 203.0.113.9"}, "untrusted_network"),
            ({"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=203.0.113.9"}, "untrusted_network"),
            ({"X-Forwarded-For": "junk"}, "untrusted_network"),
            ({}, "untrusted_network"),
        ],
    )
    def test_the_client_is_believed_where_it_comes_from_a_trusted_network(
        self, settings: Settings, controller: Controller, headers: dict[str, str], code: str
    ) -> None:
        assert over_tcp(controller, headers) == code


def test_a_request_has_a_number_in_answer_log_and_audit(
    controller: Controller, accounts: MemoryAccounts, audit: MemoryAudit
) -> None:
    app = create_app(controller, Accounts(accounts, audit))
    seen: list[dict[str, Any]] = []
    app.add_url_rule("/seen", "seen", lambda: str(seen.append(structlog.contextvars.get_contextvars())))
    answer = Caller(app).get("/seen")
    assert seen == [{"request_id": answer.headers["X-Request-Id"]}]
    assert structlog.contextvars.get_contextvars() == {}
    assert Caller(app).get("/seen").headers["X-Request-Id"] != answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("address", "headers", "given", "taken"),
    [
        (PROXY, {"X-Forwarded-For": UNTRUSTED}, "abcdefgh-1", True),
        (PROXY, {"X-Forwarded-For": UNTRUSTED}, "x", False),
        (PROXY, {"X-Forwarded-For": UNTRUSTED}, "a" * 65, False),
        (PROXY, {"X-Forwarded-For": UNTRUSTED}, "abcdefgh\u00e9", False),
        (UNTRUSTED, {}, "abcdefgh-1", False),
        (UNTRUSTED, {"X-Forwarded-For": TRUSTED}, "abcdefgh-1", False),
    ],
)
def test_a_trusted_proxys_number_is_kept(
    settings: Settings, controller: Controller, address: str, headers: dict[str, str], given: str, taken: bool
) -> None:
    settings.trusted_proxies = (PROXY,)
    answer = Caller(create_app(controller), address, **headers, **{"X-Request-Id": given}).get("/healthz")
    assert (answer.headers["X-Request-Id"] == given) == taken


def test_a_refused_submission_is_recorded_with_the_name_that_it_claims(app: Flask, audit: MemoryAudit) -> None:
    Caller(app).post("/start", data={"username": "mallory", "app_name": "probe_1.0"})
    assert audit.of("refused") == [("mallory", "POST /start", "/start", "untrusted_network")]
    assert audit.lines[0]["established"] == "desktop_claim"


def test_an_audit_that_cannot_be_written_keeps_nobody_from_work(controller: Controller, accounts: MemoryAccounts) -> None:
    class Broken:
        def record(self, *given: object, **line: object) -> None:
            raise DatabaseError("disk I/O error")

    job = controller.jobs.submit(*submission())
    app = create_app(controller, Accounts(accounts, Broken()))
    with capture_logs() as logs:
        answer = Caller(app, TRUSTED).get(f"/cancel/ada/{job.id}")
    assert "is cancelled" in answer.get_json()
    (line,) = [one for one in logs if one["event"] == "the audit cannot be written"]
    assert (line["who"], line["action"], line["subject"]) == ("ada", "job_cancel", f"job {job.id}")


def test_what_another_sites_page_causes_is_recorded(app: Flask, audit: MemoryAudit) -> None:
    Caller(app, TRUSTED).get("/cancel/ada/1", headers={"Sec-Fetch-Site": "cross-site"})
    assert [(line["code"], line["subject"]) for line in audit.lines] == [("foreign_page", "/cancel/ada/1")]
