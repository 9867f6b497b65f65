"""The audit as the API gives it: who has changed what, and what was refused."""

import builtins
from typing import Annotated

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Operation, Request, Response


class AuditEntry(Response):
    """A line. ``count``: how often it happened from ``at`` until ``last_at``; ``outcome``: ok or refused."""

    id: int
    at: float
    last_at: float
    count: int
    who: str
    established: str
    address: str
    action: str
    subject: str
    outcome: str
    code: str
    detail: str
    request_id: str


class AuditList(Response):
    """Lines, newest first. ``before``: what to ask for next, null at the end."""

    entries: list[AuditEntry]
    before: int | None


class AuditQuery(Request):
    """Which lines; "" for all. ``since``, ``until``: Unix seconds; ``before``: only lines from before that one."""

    who: str = Field(default="", max_length=200)
    action: str = Field(default="", max_length=200)
    subject: str = Field(default="", max_length=200)
    outcome: str = Field(default="", pattern="^(ok|refused)?$")
    address: str = Field(default="", max_length=200)
    since: float | None = Field(default=None, ge=0, le=1e12, allow_inf_nan=False)
    until: float | None = Field(default=None, ge=0, le=1e12, allow_inf_nan=False)
    before: Annotated[int, Field(ge=1, le=999_999_999_999_999)] | None = None
    limit: int = Field(default=100, ge=1, le=1000)


LIST = Operation(
    "audit.list", "GET", "/audit", AuditQuery, AuditList, "List what was changed and what was refused, newest first."
)


class Audit:
    """The audit of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, query: AuditQuery) -> "builtins.list[AuditEntry]":
        """The newest lines: an administrator's all, anybody else's own and those about them."""
        return self._caller.call(LIST, query).entries
