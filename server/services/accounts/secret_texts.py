"""Secrets of tokens, sessions and links: 256 random bits each. Only their SHA-256 is stored.

A slow hash protects what people can remember; nobody guesses 256 bits, and a token is checked at each request.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from typing import NamedTuple

_TOKEN = re.compile(r"cml_([1-9][0-9]{0,17})_([A-Za-z0-9_-]{43})", re.ASCII)
_ANY_TOKEN = re.compile(r"cml_([0-9]{1,18})_[A-Za-z0-9_-]+", re.ASCII)
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class TokenText(NamedTuple):
    """A token's number and its secret."""

    number: int
    secret: str

    def __repr__(self) -> str:
        return f"TokenText({self.number}, …)"


def new_secret() -> str:
    """43 characters that are safe in a URL."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two hashes are the same, in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def token_text(number: int, secret: str) -> str:
    """A token as its user has it."""
    return f"cml_{number}_{secret}"


def parse_token(text: str) -> TokenText | None:
    """The parts of a token; None of what cannot be one."""
    found = _TOKEN.fullmatch(text)
    return TokenText(int(found[1]), found[2]) if found else None


def is_secret(text: str) -> bool:
    """Whether a text could be a cookie or a link's secret."""
    return bool(_COOKIE.fullmatch(text))


def without_tokens(text: str) -> str:
    """A text in which no token can be used: for the audit, whoever wrote one there."""
    return _ANY_TOKEN.sub(r"cml_\1_…", text)


def csrf_of(cookie: str, salt: str) -> str:
    """The token that a session's forms carry; who has not the cookie cannot make it."""
    made = hmac.new(cookie.encode(), f"csrf:{salt}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(made).decode().rstrip("=")
