"""Who may ask a server anything: its own clients and people at their browser, but no web page that somebody else has written.

A page can make the browser that shows it send requests to any address. There are two ways. It asks directly: then the browser
says from where (`Sec-Fetch-Site`, `Origin`, `Referer`), or says nothing but its own name. Or it gives its own name the server's
address (DNS rebinding): then the request is for the page's name in `Host`, never for an address.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from urllib.parse import urlsplit

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})
OWN_SITES = frozenset({"none", "same-origin"})
ANY = "*"
KNOWN = 256  # hosts that are not looked up again at each request
FOREIGN_PAGE = "foreign_page"
NO_ORIGIN = "null"  # of a page in a sandbox, and of the desktop client
Header = Callable[[str], str | None]  # the value of a request's header; None where it is not sent
_HOST = re.compile(r"(?:\[([0-9a-f:.%]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?", re.IGNORECASE)
_PATTERN = re.compile(r"\*|(\*\.)?[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Foreign:
    """Why a request is refused: ``code`` for a program, ``message`` for a person, ``field``: the header at fault."""

    code: str
    message: str
    field: str


@dataclass(frozen=True)
class Visitors:
    """Tells a server's own visitors from others. ``names``: hosts it is asked as; ``any_address``: also by every IP address.

    ``full_name``: another name, asked for where none of those fits, since a name server may take its time.
    """

    names: frozenset[str]
    any_address: bool
    full_name: Callable[[], str] = lambda: ""

    def objection(self, header: Header, target: str = "", *, changes: bool = False) -> Foreign | None:
        """Why a request is none of the server's own clients'; None where it may be.

        ``target``: what the request's first line asks for; ``changes``: it is a GET that changes something.
        """
        host = header("Host")
        asked = [] if host is None else [host]
        if not target.startswith("/") and "://" in target:
            asked.append(named_in(target))
        for name in asked:
            if not self.knows(name):
                return Foreign("foreign_host", f"this server is not called {name[:100]!r}; allowed_hosts lists its names", "Host")
        by = _caused_elsewhere(header, host or "", changes=changes)
        return Foreign(FOREIGN_PAGE, "another site's page may have caused this request", by) if by else None

    def knows(self, host: str) -> bool:
        """Whether this is a name or an address, perhaps with a port, of the server."""
        return _knows(self, host)

    def inspect(self, host: str) -> bool:
        """The same, without a memory of what was asked before."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found[1] or found[2]).lower().rstrip(".")
        address = _address(name)
        if address is not None and (self.any_address or address.is_loopback):
            return True
        if str(address or name) in self.names or any(fnmatchcase(name, one) for one in self.names if ANY in one):
            return True
        return address is None and name == self.full_name()


@lru_cache(KNOWN)
def _knows(one: Visitors, host: str) -> bool:
    return one.inspect(host)


def visitors(host: str, allowed: Collection[str]) -> Visitors:
    """Who may ask a server that listens at ``host``. ``allowed``: the names that it has beside; `*.lab` is any name in lab.

    A server that listens at a loopback address is known by that alone. Any other one has its computer's names, and may be asked
    by every address, since others may lead to it: a page whose host is an address was got from there, so nothing can be rebound.
    """
    listed = {one.strip("[]").rstrip(".").lower() for one in allowed}
    listed = {str(_address(one) or one) for one in listed}
    address = _address(host)
    if (address is not None and address.is_loopback) or host.lower() in LOCAL_NAMES:
        return Visitors(frozenset(listed | LOCAL_NAMES), any_address=False)
    own = {host.lower()} if address is None else {str(address)}
    return Visitors(frozenset(listed | LOCAL_NAMES | own | own_names()), any_address=True, full_name=cache(own_full_name))


def own_names() -> set[str]:
    """What this computer calls itself, and as it is called without a name server."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"} if short else set()


def own_full_name() -> str:
    """What this computer is called in its domain; may wait for a name server."""
    with suppress(OSError, UnicodeError):
        return socket.getfqdn().lower().rstrip(".")
    return ""


def is_host(text: str) -> bool:
    """Whether the text can stand in a list of allowed hosts: a name, an address, `*.domain`, or `*` for whatever is asked for."""
    return _PATTERN.fullmatch(text) is not None


def is_browser(agent: str) -> bool:
    """Whether a web browser calls itself so; the desktop client's framework adds its own name."""
    return agent.startswith("Mozilla/") and "Electron/" not in agent


def named_in(target: str) -> str:
    """The host that an absolute target names; "" where it names none that can be read."""
    try:
        return urlsplit(target).netloc
    except ValueError:
        return ""


def _caused_elsewhere(header: Header, host: str, *, changes: bool) -> str:
    """The header that says, or lets one fear, that another site's page has caused the request; "" where none does."""
    site = header("Sec-Fetch-Site")
    if site is not None:
        return "" if site.strip().lower() in OWN_SITES else "Sec-Fetch-Site"
    by_browser = is_browser(header("User-Agent") or "")
    origin, referer = header("Origin"), header("Referer")
    if origin is not None and (by_browser if origin == NO_ORIGIN else not _is_same(origin, host)):
        return "Origin"
    if referer and not _is_same(referer, host):
        return "Referer"
    # To an address without TLS, browsers do not say which page is behind a picture or a link.
    return "User-Agent" if changes and by_browser and not origin and not referer else ""


def _is_same(url: str, host: str) -> bool:
    try:
        found = urlsplit(url)
        own = urlsplit(f"{found.scheme}://{host}")
        usual = _PORTS.get(found.scheme)
        return bool(host) and usual is not None and (found.hostname, found.port or usual) == (own.hostname, own.port or usual)
    except ValueError:
        return False


def _address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
