"""API tokens as the API gives them, the operations on them, and the client of these."""

import builtins
from typing import Annotated

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Operation, Request, Response, Scope
from cumulus_client.users import Name


class Token(Response):
    """A token without its secret. ``owner``: "" of an agent's; ``expires``: null for never."""

    id: int
    name: str
    owner: str
    role: str
    scopes: list[str]
    created: float
    created_by: str
    expires: float | None
    revoked_at: float | None
    last_used: float | None


class NewToken(Token):
    """A token that was just made; ``text`` is what is kept, and never given again."""

    text: str = Field(repr=False)


class TokenList(Response):
    """Tokens, newest first."""

    tokens: list[Token]


class TokensQuery(Request):
    """Whose tokens. ``everybody``: all users' and agents', for an administrator."""

    everybody: bool = False


class TokenWish(Request):
    """A token to be made, for oneself or (by an administrator) for somebody else or for an agent."""

    name: str = Field(min_length=1, max_length=80, description="What it is for, such as `laptop`.")
    scopes: list[Scope] = Field(default=["read", "submit"], min_length=1, max_length=3)
    days: int | None = Field(default=None, ge=1, le=36_500, description="Until it expires; default: 90.")
    owner: Name | None = None
    for_agent: bool = False


class OneToken(Request):
    """Which token."""

    token: Annotated[int, Field(ge=1, le=999_999_999_999_999)]


LIST = Operation("tokens.list", "GET", "/tokens", TokensQuery, TokenList, "List tokens, without their secrets.")
CREATE = Operation(
    "tokens.create", "POST", "/tokens", TokenWish, NewToken, "Make a token; its text is given this once.", "admin", 201
)
REVOKE = Operation("tokens.revoke", "DELETE", "/tokens/{token}", OneToken, Token, "Let a token be used no more, from now on.")


class Tokens:
    """The API tokens of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, *, everybody: bool = False) -> "builtins.list[Token]":
        """One's tokens; ``everybody``: all."""
        return self._caller.call(LIST, TokensQuery(everybody=everybody)).tokens

    def create(self, wish: TokenWish) -> NewToken:
        """Make a token."""
        return self._caller.call(CREATE, wish)

    def revoke(self, token: int) -> Token:
        """Let a token be used no more."""
        return self._caller.call(REVOKE, OneToken(token=token))
