"""What joins an operation with the service that carries it out. Knows nothing of HTTP."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from cumulus_client.operations import Download, Gives, Operation, Response, Takes
from server.services.principal import Principal
from server.services.services import Services

Handler = Callable[[Services, Principal, Takes], Gives]


@dataclass(frozen=True)
class Payload:
    """A file that an operation gives. ``file``: open, it can be read from any place; ``size``: bytes.

    ``tag``: another text where the content is another, "" where that is not known.
    """

    file: BinaryIO
    size: int
    name: str
    tag: str = ""


@dataclass(frozen=True)
class Bound:
    """An operation with its handler, whatever types they have."""

    operation: Operation[Any, Any]
    handler: Callable[[Services, Principal, Any], Response]


@dataclass(frozen=True)
class BoundDownload:
    """The same for one that gives a file."""

    operation: Download[Any]
    handler: Callable[[Services, Principal, Any], Payload]


def bound(operation: Operation[Takes, Gives], handler: Handler[Takes, Gives]) -> Bound:
    """The two joined; the types have to fit."""
    return Bound(operation, handler)


def bound_download(operation: Download[Takes], handler: Callable[[Services, Principal, Takes], Payload]) -> BoundDownload:
    """The same for a file."""
    return BoundDownload(operation, handler)
