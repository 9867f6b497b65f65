"""Where a request comes from: the address of its client, also behind proxies.

A proxy says in headers (``Forwarded``, RFC 7239, or ``X-Forwarded-For``) for whom it asks. Anybody can send those, so they count
only as far as trusted proxies reach: each of them appends who has asked it, and the list is read from its end. Where such headers
come from anybody else, or cannot be read, nobody knows who asks, and the client is in no network.

Owns these headers: they are taken out of the request, so that nothing else believes them.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

CLIENT = "cumulus.client"  # the key of a Client in a WSGI environment
MAX_HOPS = 50
KNOWN = 4096  # addresses that are not read again at each request
HTTPS = "https"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Application = Callable[..., Iterable[bytes]]

_FORWARDED = "HTTP_FORWARDED"
_FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
_FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
_SIGNS = frozenset(  # of a proxy, beside everything that begins with X-Forwarded
    {_FORWARDED, "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP", "HTTP_TRUE_CLIENT_IP", "HTTP_CF_CONNECTING_IP"}
)
_PAIR = re.compile(r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+))[ \t]*(?:([;,])|$)""")
_ADDRESS_AND_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%[^\]]*)?\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


@dataclass(frozen=True)
class Client:
    """Who asks, as far as the connection tells.

    ``address``: of the client, or of the last trusted proxy where that cannot say for whom it asks; "": none is known.
    ``is_certain``: the client has this address. ``is_secure``: it asks by TLS. ``is_forwarded``: a proxy asks for it.
    """

    address: str
    is_certain: bool
    is_secure: bool = False
    is_forwarded: bool = False


NOBODY = Client("", is_certain=False)


class Networks:
    """Some networks. Raises ValueError for what is none."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = tuple(network(text) for text in texts)
        self._known = lru_cache(KNOWN)(self._contains)

    def __contains__(self, address: str) -> bool:
        return self._known(address)

    def _contains(self, address: str) -> bool:
        found = address_in(address)
        return found is not None and any(found in one for one in self._networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def include_other_computers(self) -> bool:
        """Whether another computer can be in one of them."""
        return any(not one.is_loopback for one in self._networks)


def network(text: str) -> Network:
    """A network (`192.0.2.0/24`), or an address as one. Raises ValueError, with the network that may have been meant."""
    with suppress(ValueError):
        return ipaddress.ip_network(text.strip())
    try:
        meant = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text[:100]!r} is no network: give one as 192.0.2.0/24 or 2001:db8::/32, or an address") from None
    raise ValueError(f"{text[:100]!r} is an address within a network: give {meant} for all of it, or the address without /")


@lru_cache(KNOWN)
def address_in(text: str) -> Address | None:
    """The address that a text gives, also in brackets, with a port or a zone; None where it is none."""
    text = text.strip()
    if found := _ADDRESS_AND_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


@dataclass(frozen=True)
class _Hop:
    """One entry of a list of proxies: whom it has asked for, and how it was asked; ``proto`` "": it does not say."""

    node: str
    proto: str = ""


_UNREADABLE = (_Hop(""),)


def client_of(peer: str, forwarding: Mapping[str, str], proxies: Networks, scheme: str = "http") -> Client:
    """The client of a request that has come from ``peer``. ``forwarding``: what :func:`take_forwarding` gives."""
    own = address_in(peer)
    if own is None:
        return Client("", is_certain=False, is_forwarded=bool(forwarding))
    if not forwarding:
        return _direct(str(own), scheme)
    unknown = Client(str(own), is_certain=False, is_forwarded=True)
    if str(own) not in proxies:
        return unknown
    found = {_followed(own, hops, proxies) for hops in _lists(forwarding)}
    # A proxy that writes one of the headers may hand on the other as the client has sent it: then they differ.
    if len({(one.address, one.is_certain) for one in found}) != 1:
        return unknown
    first = next(iter(found))
    return Client(first.address, first.is_certain, all(one.is_secure for one in found), is_forwarded=True)


def take_forwarding(environ: dict[str, Any]) -> dict[str, str]:
    """Takes the headers by which proxies speak out of a WSGI environment."""
    names = [name for name in environ if name.startswith("HTTP_X_FORWARDED") or name in _SIGNS]
    return {name: str(environ.pop(name)) for name in names}


class ClientAddresses:
    """Tells an application the client of each request, and keeps proxies' headers from it. ``proxies``: the trusted ones."""

    def __init__(self, application: Application, proxies: Networks) -> None:
        self._application = application
        self._proxies = proxies

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        forwarding = take_forwarding(environ)
        peer, scheme = environ.get("REMOTE_ADDR") or "", environ.get("wsgi.url_scheme", "http")
        environ[CLIENT] = client_of(peer, forwarding, self._proxies, scheme)
        return self._application(environ, start_response)


def client_in(environ: Mapping[str, Any]) -> Client:
    """The client of a request; nobody where it has not passed :class:`ClientAddresses`."""
    found = environ.get(CLIENT)
    return found if isinstance(found, Client) else NOBODY


@lru_cache(KNOWN)
def _direct(address: str, scheme: str) -> Client:
    return Client(address, is_certain=True, is_secure=scheme == HTTPS)


def _followed(peer: Address, hops: tuple[_Hop, ...], proxies: Networks) -> Client:
    """Who has asked the first of the trusted proxies, which are the last in the list."""
    trusted, proto = peer, ""
    for hop in reversed(hops):
        found = address_in(hop.node)
        if found is None:
            return Client(str(trusted), is_certain=False)
        trusted, proto = found, hop.proto
        if str(found) not in proxies:
            break
    return Client(str(trusted), is_certain=True, is_secure=proto.lower() == HTTPS)


def _lists(forwarding: Mapping[str, str]) -> list[tuple[_Hop, ...]]:
    """What each of the two headers says, the client first."""
    found = []
    if _FORWARDED in forwarding:
        found.append(_read_forwarded(forwarding[_FORWARDED]))
    if _FORWARDED_FOR in forwarding:
        found.append(_read_forwarded_for(forwarding[_FORWARDED_FOR], forwarding.get(_FORWARDED_PROTO, "")))
    return found


def _read_forwarded_for(text: str, protos: str) -> tuple[_Hop, ...]:
    """``X-Forwarded-For``, with ``X-Forwarded-Proto``: of each proxy, or of the last, which is where the list was begun."""
    nodes, named = text.split(","), [one.strip() for one in protos.split(",")]
    if len(nodes) > MAX_HOPS:
        return _UNREADABLE
    if len(named) != len(nodes):
        named = named[-1:] * len(nodes)
    return tuple(_Hop(node.strip(), proto) for node, proto in zip(nodes, named, strict=True))


def _read_forwarded(text: str) -> tuple[_Hop, ...]:
    """``Forwarded``. All of it must be readable: a quote that a client has opened could swallow what a proxy has appended."""
    hops: list[_Hop] = []
    pairs: dict[str, str] = {}
    place, ended = 0, False
    while not ended:
        found = _PAIR.match(text, place)
        if found is None or found[1].lower() in pairs or len(hops) >= MAX_HOPS:
            return _UNREADABLE
        pairs[found[1].lower()] = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        place, ended = found.end(), found[4] is None
        if ended or found[4] == ",":
            hops.append(_Hop(pairs.get("for", ""), pairs.get("proto", "")))
            pairs = {}
    return tuple(hops)
