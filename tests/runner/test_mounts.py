"""How a machine tells the kernel where the storage is, by IPv4 and by IPv6."""

import socket
from ipaddress import ip_address

import pytest

from tests.runner.conftest import FILES
from tests.runner.test_network import BEGIN, run

TELL = BEGIN + "from cumulus_runner import mounts; "


def words(server: str) -> str:
    return run(TELL + f"print(*mounts.nfs_words({server!r}, mounts.address({server!r})))").strip()


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ("127.0.0.1", "127.0.0.1:/ proto=tcp,addr=127.0.0.1"),
        ("::1", "[::1]:/ proto=tcp6,addr=::1"),
        ("fd00:61::1", "[fd00:61::1]:/ proto=tcp6,addr=fd00:61::1"),
    ],
)
def test_an_address_is_told_as_the_kernel_takes_it(server: str, told: str) -> None:
    assert words(server) == told


def test_a_name_has_an_address_of_this_machine_and_no_brackets() -> None:
    source, options = words("localhost").split(" ")
    address = options.partition("addr=")[2]
    assert source == "localhost:/"
    assert ip_address(address).is_loopback
    assert options.startswith("proto=tcp6," if ":" in address else "proto=tcp,")


def test_ipv4_goes_first_where_there_is_a_way_to_it_and_ipv6_where_there_is_none() -> None:
    both = [(socket.AF_INET6, "fd00:61::1"), (socket.AF_INET, "192.0.2.1")]
    found = f"[(one[0], 1, 6, '', (one[1], 0)) for one in {[(int(family), place) for family, place in both]!r}]"
    begin = TELL + f"mounts.socket.getaddrinfo = lambda *_, **__: {found}; "
    for reached, wanted in (("True", "192.0.2.1"), ("family == 10", "fd00:61::1"), ("False", "192.0.2.1")):
        told = run(begin + f"mounts._is_reached = lambda family, _: {reached}; print(mounts.address('storage'))")
        assert told.strip() == wanted


def test_no_mount_option_says_twice_which_protocol_there_is() -> None:
    text = (FILES / "cumulus_runner" / "mounts.py").read_text()
    assert "proto=" not in text.partition("OPTIONS = ")[2].partition("\n")[0]
