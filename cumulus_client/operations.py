"""What an operation of the API is: a method and a path, what it takes and what it gives.

The server binds each to a service, the client calls it, the OpenAPI document describes it: all three read the same definition.
"""

import re
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

PREFIX = "/api/v1"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Scope = Literal["read", "submit", "admin"]
_IN_PATH = re.compile(r"{([a-z_]+)}")


class Request(BaseModel):
    """The base of what operations take: fields that are not known are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Response(BaseModel):
    """The base of what operations give. A later server may give more: a client ignores what it does not know.

    All times are Unix seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Nothing(Request):
    """Takes nothing."""


class Done(Response):
    """What an operation has done, as a sentence."""

    message: str


Takes = TypeVar("Takes", bound=Request)
Gives = TypeVar("Gives", bound=Response)


@dataclass(frozen=True)
class Operation(Generic[Takes, Gives]):
    """One operation. ``name``: its noun and verb, such as ``jobs.list``; ``path``: below ``/api/v1``, with fields in braces.

    ``status``: of the answer to one that succeeds.
    ``scope``: what a token needs. Fields that are not in the path are in the query of a GET or DELETE, else in a JSON body.
    """

    name: str
    method: Method
    path: str
    takes: type[Takes]
    gives: type[Gives]
    summary: str
    scope: Scope = "read"
    status: int = 200

    @property
    def path_fields(self) -> tuple[str, ...]:
        """The fields that are part of the path."""
        return tuple(_IN_PATH.findall(self.path))

    @property
    def has_body(self) -> bool:
        """Whether the other fields are sent as JSON."""
        return self.method not in ("GET", "DELETE")


@dataclass(frozen=True)
class Download(Generic[Takes]):
    """An operation that gives a file: bytes as they are, the part of them that a Range header asks for."""

    name: str
    path: str
    takes: type[Takes]
    media_type: str
    summary: str
    scope: Scope = "read"
    method: Literal["GET"] = "GET"

    @property
    def path_fields(self) -> tuple[str, ...]:
        """The fields that are part of the path."""
        return tuple(_IN_PATH.findall(self.path))
