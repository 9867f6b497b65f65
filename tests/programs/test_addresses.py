"""Where a request comes from: whose word counts, and what nobody can forge."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.http.addresses import (
    MAX_HOPS,
    Client,
    ClientAddresses,
    Networks,
    address_in,
    client_in,
    client_of,
    network,
    take_forwarding,
)
from tests.programs.doors import answered, connected, standing

NONE = Networks(())
PROXIES = Networks(("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"))
CLIENT, OTHER = "192.0.2.7", "198.51.100.9"
V4 = st.ip_addresses(v=4).map(str)
ANY = st.one_of(V4, st.ip_addresses(v=6).map(str))
PROXY = st.one_of(
    st.ip_addresses(network="10.0.0.0/8").map(str), st.ip_addresses(network="2001:db8:1::/48").map(str), st.just("127.0.0.1")
)
STRANGER = ANY.filter(lambda text: text not in PROXIES)
JUNK = st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=60)


def xff(text: str, proto: str | None = None) -> dict[str, str]:
    return {"HTTP_X_FORWARDED_FOR": text, **({"HTTP_X_FORWARDED_PROTO": proto} if proto else {})}


def forwarded(text: str) -> dict[str, str]:
    return {"HTTP_FORWARDED": text}


def quoted(address: str) -> str:
    return f'"[{address}]"' if ":" in address else address


def test_without_a_proxy_the_client_is_who_has_connected() -> None:
    assert client_of(CLIENT, {}, NONE) == Client(CLIENT, is_certain=True)
    assert client_of(CLIENT, {}, PROXIES, "https").is_secure


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::1", "::1"),
        ("", ""),
        ("localhost", ""),
        ("/run/x", ""),
    ],
)
def test_an_address_is_written_in_one_way(peer: str, address: str) -> None:
    assert client_of(peer, {}, NONE) == Client(address, is_certain=bool(address))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7:80", "192.0.2.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[fe80::1%25eth0]:1", "fe80::1"),
        ("::ffff:c000:207", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("unknown", None),
        ("_hidden", None),
        ("192.0.2.7:", None),
        ("192.0.2", None),
        ("010.0.0.1", None),
        ("1" * 400, None),
        ("[192.0.2.7", None),
        ("", None),
    ],
)
def test_addresses_are_read_with_ports_brackets_and_zones(text: str, address: str | None) -> None:
    found = address_in(text)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize(
    "headers",
    [
        xff(CLIENT),
        xff("127.0.0.1"),
        forwarded("for=127.0.0.1"),
        {"HTTP_VIA": "1.1 squid"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
        {"HTTP_X_FORWARDED_HOST": "cumulus.lab"},
        xff(""),
    ],
)
def test_what_is_forwarded_by_nobody_who_is_trusted_is_in_no_network(headers: dict[str, str]) -> None:
    """Above all on the loopback address: a proxy there must not make all the world trusted."""
    assert client_of("127.0.0.1", headers, NONE) == Client("127.0.0.1", is_certain=False, is_forwarded=True)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (xff(CLIENT), CLIENT),
        (xff(f"{OTHER}, {CLIENT}"), CLIENT),
        (xff(f"{OTHER}, {CLIENT}, 10.1.1.1"), CLIENT),
        (xff(f"{OTHER},{CLIENT}:443,10.1.1.1,2001:db8:1::5"), CLIENT),
        (xff("10.1.1.2, 10.1.1.1"), "10.1.1.2"),
        (xff("junk, 192.0.2.7"), CLIENT),
        (xff("::ffff:192.0.2.7"), CLIENT),
        (forwarded("for=192.0.2.7"), CLIENT),
        (forwarded('For="[2001:db8:cafe::17]:4711"'), "2001:db8:cafe::17"),
        (forwarded("for=198.51.100.9, for=192.0.2.7;proto=http;by=203.0.113.43 , for=10.1.1.1"), CLIENT),
        (forwarded('for="192.0.2.7";host="a\\"b,c;d"'), CLIENT),
        (forwarded("for=192.0.2.7:80"), CLIENT),
        ({**xff(f"{OTHER}, {CLIENT}"), **forwarded("for=192.0.2.7")}, CLIENT),
    ],
)
def test_a_trusted_proxy_says_for_whom_it_asks(headers: dict[str, str], address: str) -> None:
    found = client_of("10.0.0.1", headers, PROXIES)
    assert (found.address, found.is_certain, found.is_forwarded) == (address, True, True)


@pytest.mark.parametrize(
    ("headers", "last"),
    [
        (xff(""), "10.0.0.1"),
        (xff("192.0.2.7,"), "10.0.0.1"),
        (xff("192.0.2.7, unknown"), "10.0.0.1"),
        (xff("192.0.2.7, _x, 10.1.1.1"), "10.1.1.1"),
        (xff(",".join([CLIENT] * (MAX_HOPS + 1))), "10.0.0.1"),
        (forwarded("for=unknown"), "10.0.0.1"),
        (forwarded("proto=https"), "10.0.0.1"),
        (forwarded("for=192.0.2.7, for=_hidden, for=10.1.1.1"), "10.1.1.1"),
        (forwarded('for="192.0.2.7'), "10.0.0.1"),
        (forwarded("for=192.0.2.7;"), "10.0.0.1"),
        (forwarded("for=192.0.2.7;for=127.0.0.1"), "10.0.0.1"),
        (forwarded('for="x, for=192.0.2.7'), "10.0.0.1"),
        (forwarded('for=127.0.0.1;a=", for="[2001:db8::1]"'), "10.0.0.1"),
        ({"HTTP_VIA": "1.1 squid"}, "10.0.0.1"),
        ({"HTTP_X_REAL_IP": CLIENT}, "10.0.0.1"),
        ({**xff(CLIENT), **forwarded("for=127.0.0.1")}, "10.0.0.1"),
        ({**xff(CLIENT), **forwarded("for=junk")}, "10.0.0.1"),
    ],
)
def test_what_cannot_be_read_ends_at_the_last_trusted_proxy(headers: dict[str, str], last: str) -> None:
    assert client_of("10.0.0.1", headers, PROXIES) == Client(last, is_certain=False, is_forwarded=True)


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [
        (xff(CLIENT, "https"), True),
        (xff(CLIENT, "HTTPS"), True),
        (xff(CLIENT, "http"), False),
        (xff(CLIENT), False),
        (xff(f"{CLIENT}, 10.1.1.1", "https, http"), True),
        (xff(f"{CLIENT}, 10.1.1.1", "http, https"), False),
        (xff(f"{OTHER}, {CLIENT}, 10.1.1.1", "https, http"), False),
        (forwarded("for=192.0.2.7;proto=https"), True),
        (forwarded("for=198.51.100.9;proto=https, for=192.0.2.7"), False),
        ({**xff(CLIENT, "http"), **forwarded("for=192.0.2.7;proto=https")}, False),
    ],
)
def test_tls_at_the_proxy_counts_as_tls(headers: dict[str, str], is_secure: bool) -> None:
    found = client_of("10.0.0.1", headers, PROXIES)
    assert (found.address, found.is_secure) == (CLIENT, is_secure)


def test_tls_by_the_word_of_a_stranger_is_none() -> None:
    assert not client_of(OTHER, xff(CLIENT, "https"), PROXIES).is_secure


@given(st.lists(JUNK, max_size=4), STRANGER, st.lists(PROXY, max_size=4), PROXY)
def test_whatever_a_client_sends_it_does_not_become_another(said: list[str], client: str, way: list[str], peer: str) -> None:
    """Each proxy appends who has asked it, so a client writes the beginning of the list, and no more."""
    found = client_of(peer, xff(", ".join([*said, client, *way])), PROXIES)
    assert found == Client(str(address_in(client)), is_certain=True, is_forwarded=True) or not found.is_certain
    if len(", ".join(said).split(",")) + len(way) < MAX_HOPS:
        assert found.is_certain


@given(st.lists(JUNK, max_size=3), STRANGER, st.lists(PROXY, max_size=3), PROXY)
def test_nor_by_the_other_header(said: list[str], client: str, way: list[str], peer: str) -> None:
    appended = [f"for={quoted(one)}" for one in (client, *way)]
    found = client_of(peer, forwarded(", ".join([*said, *appended])), PROXIES)
    assert found.address == str(address_in(client)) or not found.is_certain


@given(STRANGER, st.lists(PROXY, max_size=5), PROXY, st.sampled_from(["http", "https"]))
def test_both_headers_are_read_alike(client: str, way: list[str], peer: str, proto: str) -> None:
    hops = [client, *way]
    one = client_of(peer, xff(", ".join(hops), ", ".join([proto] * len(hops))), PROXIES)
    other = client_of(peer, forwarded(",".join(f"proto={proto};for={quoted(hop)}" for hop in hops)), PROXIES)
    assert one == other == Client(str(address_in(client)), is_certain=True, is_secure=proto == "https", is_forwarded=True)


@given(STRANGER, JUNK, JUNK, JUNK)
def test_no_header_of_a_stranger_counts(peer: str, a: str, b: str, c: str) -> None:
    found = client_of(peer, {**xff(a, c), **forwarded(b)}, PROXIES)
    assert found == Client(str(address_in(peer)), is_certain=False, is_forwarded=True)


@given(JUNK, JUNK, JUNK, PROXY)
def test_nothing_that_is_sent_is_an_error(a: str, b: str, c: str, peer: str) -> None:
    found = client_of(peer, {**xff(a, b), **forwarded(c)}, PROXIES)
    assert address_in(found.address) is not None


@given(JUNK)
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = address_in(text)
    assert found is None or address_in(str(found)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.7/24", "give 192.0.2.0/24 for all of it"),
        ("lab", "is no network"),
        ("", "is no network"),
        ("192.0.2.0/33", "is no network"),
    ],
)
def test_a_network_that_is_none_is_explained(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        network(text)


def test_networks_hold_addresses_of_their_version() -> None:
    some = Networks(("192.0.2.0/24", "2001:db8::/32", "198.51.100.9"))
    for inside in ("192.0.2.255", "::ffff:192.0.2.1", "2001:db8:ffff::", "198.51.100.9"):
        assert inside in some
    for outside in ("192.0.3.0", "2001:db9::", "198.51.100.8", "", "unknown", "::c000:201"):
        assert outside not in some
    assert some
    assert not NONE
    assert some.include_other_computers()
    assert not Networks(("127.0.0.0/8", "::1")).include_other_computers()


def test_headers_of_proxies_reach_nothing_behind() -> None:
    environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "x", **xff(CLIENT, "https"), **forwarded("for=_x"), "HTTP_VIA": "1.1 p"}
    environ |= {"HTTP_X_FORWARDED_ANYTHING": "1"}
    taken = take_forwarding(environ)
    assert set(environ) == {"REMOTE_ADDR", "HTTP_HOST"}
    assert len(taken) == 5


def test_over_a_real_socket_the_application_hears_of_the_client_and_of_no_header() -> None:
    def tell(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        body = f"{client_in(environ)} {[name for name in environ if 'FORWARDED' in name or 'VIA' in name]}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return iter([body])

    request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 192.0.2.7\r\nVia: 1.1 p\r\n\r\n"
    for proxies, wanted in ((PROXIES, Client(CLIENT, True, False, True)), (NONE, Client("127.0.0.1", False, False, True))):
        with standing(ClientAddresses(tell, proxies)) as door, connected(door, request) as one:
            assert answered(one).endswith(f"{wanted} []".encode())


def test_without_that_part_nobody_is_known() -> None:
    assert client_in({"REMOTE_ADDR": "127.0.0.1"}) == Client("", is_certain=False)
