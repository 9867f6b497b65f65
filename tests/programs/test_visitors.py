"""By which names a server may be asked, where it listens."""

import socket

import pytest

from programs.http.visitors import is_host, visitors
from server.errors import InvalidInput
from server.settings import load_settings

NAME = socket.gethostname().lower()


@pytest.mark.parametrize(
    ("listens", "allowed", "asked", "may"),
    [
        ("127.0.0.1", (), "127.0.0.1:5000", True),
        ("127.0.0.1", (), "localhost", True),
        ("127.0.0.1", (), "10.1.2.3", False),
        ("127.0.0.1", (), NAME, False),
        ("127.0.0.1", ("cumulus.lab",), "CUMULUS.lab:5000", True),
        ("127.0.0.1", ("cumulus.lab",), "127.0.0.1", True),  # a proxy on this computer
        ("::1", (), "[::1]:5000", True),
        ("0.0.0.0", (), "10.1.2.3:5000", True),  # one of its addresses, or one that leads to it
        ("0.0.0.0", (), "[2001:db8::1]:5000", True),
        ("0.0.0.0", (), "[::ffff:10.1.2.3]", True),
        ("0.0.0.0", (), NAME, True),
        ("0.0.0.0", (), f"{NAME.partition('.')[0]}.local:5000", True),
        ("0.0.0.0", (), "localhost:5000", True),
        ("0.0.0.0", (), "evil.example", False),
        ("0.0.0.0", (), f"{NAME}.evil.example", False),
        ("::", (), "10.1.2.3", True),
        ("10.1.2.3", (), "192.0.2.7:5000", True),  # a floating address
        ("10.1.2.3", (), "evil.example", False),
        ("controller.lab", (), "controller.lab:5000", True),
        ("0.0.0.0", ("*.lab",), "a.b.lab:80", True),
        ("0.0.0.0", ("*.lab",), "lab", False),
        ("0.0.0.0", ("*.lab",), "evil.example", False),
        ("0.0.0.0", ("*",), "whatever.example", True),
        ("0.0.0.0", (), "10.1.2.3@evil.example", False),
        ("0.0.0.0", (), "evil.example#10.1.2.3", False),
        ("0.0.0.0", (), "0x7f.1", False),
        ("0.0.0.0", (), "10.1.2.3.evil.example", False),
    ],
)
def test_names_and_addresses(listens: str, allowed: tuple[str, ...], asked: str, may: bool) -> None:
    assert visitors(listens, allowed).knows(asked) is may


def test_the_name_in_the_domain_is_looked_up_once_and_only_where_no_other_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(socket, "getfqdn", lambda: looks.append("") or "Controller.Lab.")
    found = visitors("0.0.0.0", ())
    assert found.knows("10.1.2.3")
    assert found.knows(NAME)
    assert looks == []
    assert [found.knows(name) for name in ("controller.lab:5000", "evil.example", "x.controller.lab")] == [True, False, False]
    assert len(looks) == 1


@pytest.mark.parametrize("given", ["a.lab,b.lab", " a.lab , b.lab,", '["a.lab", "b.lab"]'])
def test_the_setting_takes_commas_and_json(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CUMULUS_ALLOWED_HOSTS", given)
    assert load_settings().allowed_hosts == ("a.lab", "b.lab")


@pytest.mark.parametrize("given", ["http://a.lab", "a.lab:5000", "a b", "[", "*.*", '["a", 1]', "a/b"])
def test_what_is_no_host_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CUMULUS_ALLOWED_HOSTS", given)
    with pytest.raises(InvalidInput, match="CUMULUS_ALLOWED_HOSTS"):
        load_settings()


@pytest.mark.parametrize("host", ["a", "a.b-c.d", "*.lab", "*", "10.1.2.3", "::1", "[::1]"])
def test_what_is_a_host(host: str) -> None:
    assert is_host(host)
