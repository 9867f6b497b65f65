"""The agent's HTTP requests: form fields arrive, failures are one kind of error, and nothing but the given address is asked."""

import json
import socket
from typing import NoReturn

import pytest

from agent.http_client import MAX_BYTES, HttpClient, NoAnswer, NotAdmitted, get
from server.catalog.settings_text import MAX_SETTINGS_BYTES
from tests.agent.hearing import Hearing
from tests.agent.sshd import free_port


def test_a_form_arrives_as_it_was_given() -> None:
    hearing = Hearing()
    with hearing.listening(), HttpClient(hearing.url + "/", 5) as client:
        assert client.post("/fail", {"job_id": "7", "error_message": 'é & "x"=1\n', "trouble": "gone"}).is_ok
        assert client.get("/joblist/7/1").json() == []
        assert client.get("/nothing").status == 404
    assert hearing.heard == [("7", 'é & "x"=1\n')]
    assert hearing.troubles == ["gone"]


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:99999", "http://[", "http://a..b", "http://127.0.0.1:x"])
def test_what_is_no_url_is_no_answer(url: str) -> None:
    with pytest.raises(NoAnswer):
        get(url, "/", 5)


def test_an_ipv6_address_needs_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(address: tuple[str, int], *_: object, **__: object) -> NoReturn:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    for url in ("http://[::1]", "https://[2001:db8::1]/cumulus", "http://[::1]:5000"):
        with pytest.raises(NoAnswer):
            get(url, "/", 5)
    assert asked == [("::1", 80), ("2001:db8::1", 443), ("::1", 5000)]


def test_a_server_that_is_away_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="Connection refused"):
        get(f"http://127.0.0.1:{free_port()}", "/", 5)


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    hearing = Hearing()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with hearing.listening():
        assert get(hearing.url, "/joblist/1/1", 5).is_ok


def test_a_job_of_the_longest_settings_is_read_whole() -> None:
    """Cut off, it would be no JSON, and the jobs after it would not be asked about."""
    assert len(json.dumps("\N{PILE OF POO}" * 1000)) * (MAX_SETTINGS_BYTES // 1000) + 1_000_000 < MAX_BYTES


def test_the_token_is_sent_with_each_request() -> None:
    hearing = Hearing()
    with hearing.listening():
        with HttpClient(hearing.url, 5, "cml_x") as client:
            client.get("/joblist/1/1")
            client.post("/fail", {"job_id": "1", "error_message": "e"})
        get(hearing.url, "/healthz", 5)
    assert hearing.credentials == ["Bearer cml_x", "Bearer cml_x", ""]


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        ((401, "token_revoked"), "have its administrator make another one"),
        ((403, "forbidden"), "set controller_token"),
        ((200, "untrusted_network"), "set controller_token"),
    ],
)
def test_who_is_not_believed_hears_what_to_set(refuses: tuple[int, str], said: str) -> None:
    hearing = Hearing(refuses=refuses)
    with hearing.listening(), pytest.raises(NotAdmitted, match=said):
        get(hearing.url, "/joblist/1/1", 5, "cml_x").require_admitted()


def test_another_refusal_is_none_of_the_agent() -> None:
    hearing = Hearing(refuses=(200, "not_found; field=job_id"))
    with hearing.listening():
        get(hearing.url, "/joblist/1/1", 5).require_admitted()
