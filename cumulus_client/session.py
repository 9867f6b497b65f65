"""A session by name and password, as a browser has one: long enough to make a token."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cumulus_client.client import Cumulus
from cumulus_client.errors import ApiError
from cumulus_client.http import HttpCaller

PATH = "/session"


@contextmanager
def session(url: str, name: str, password: str) -> Iterator[Cumulus]:
    """Logged in while the block runs. Raises Refused, Unreachable."""
    caller = HttpCaller(url)
    try:
        told = caller.send("POST", PATH, json={"name": name, "password": password})
        caller.add_headers({"X-CSRF-Token": str(told.get("csrf") or ""), "Origin": url.rstrip("/")})
        try:
            yield Cumulus(caller)
        finally:
            with suppress(ApiError):
                caller.send("DELETE", PATH)
    finally:
        caller.close()
