"""What joins an operation with the service that carries it out. Knows of HTTP nothing but its statuses."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO

from cumulus_client.operations import Download, Gives, Operation, Response, Takes
from server.errors import CumulusError, InvalidInput
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
    """An operation with its handler, whatever types they have.

    ``stamp``: what the answer is made from beside the rows; it is kept as long as neither changes. None: it is never kept.
    ``records_itself``: the service writes into the audit what it has changed.
    """

    operation: Operation[Any, Any]
    handler: Callable[[Services, Principal, Any], Response]
    stamp: Callable[[Services, Any], object] | None = None
    records_itself: bool = False


def rows_alone(_services: Services, _asked: object) -> None:
    """The stamp of an answer that is made from rows and nothing else."""


@dataclass(frozen=True)
class BoundDownload:
    """The same for one that gives a file."""

    operation: Download[Any]
    handler: Callable[[Services, Principal, Any], Payload]


def bound(
    operation: Operation[Takes, Gives],
    handler: Handler[Takes, Gives],
    stamp: Callable[[Services, Takes], object] | None = None,
    *,
    records_itself: bool = False,
) -> Bound:
    """The parts joined; the types have to fit."""
    return Bound(operation, handler, stamp, records_itself)


def bound_download(operation: Download[Takes], handler: Callable[[Services, Principal, Takes], Payload]) -> BoundDownload:
    """The same for a file."""
    return BoundDownload(operation, handler)


def status_of(error: CumulusError) -> int:
    """The HTTP status: a field that cannot be what it is makes 422 of a wrong input."""
    is_wrong = isinstance(error, InvalidInput) and error.http_status == InvalidInput.http_status
    return HTTPStatus.UNPROCESSABLE_ENTITY if is_wrong and error.field else error.http_status
