"""How answers look on the wire: ASCII JSON that nobody caches, and errors in one shape."""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import NamedTuple, cast

from flask import Response

from server.errors import CumulusError

CHUNK = 500


def answer(value: object, status: int = 200) -> Response:
    """JSON with every character beyond ASCII escaped: the desktop client joins chunks as strings."""
    return answer_parts([encoded(value)], status)


def encoded(value: object) -> bytes:
    """The JSON of an answer."""
    return (json.dumps(value, ensure_ascii=True) + "\n").encode()


def answer_parts(parts: Iterable[bytes], status: int = 200) -> Response:
    """An answer whose JSON is there already."""
    response = Response(parts, status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def answer_stream(parts: Iterator[bytes]) -> Response:
    """An answer that is sent while it is made. What fails at the very beginning is raised here, where it can still be said."""
    first = next(parts)

    def whole() -> Iterator[bytes]:
        yield first
        yield from parts

    return answer_parts(whole())


class Ready(NamedTuple):
    """A value of a list whose JSON is there already, in parts."""

    parts: tuple[bytes, ...]


def array(values: Iterable[object]) -> Iterator[bytes]:
    """A list as JSON in parts, made as the values come: a long one is never there at once."""
    lead = b"["
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        for is_ready, run in groupby(chunk, lambda value: isinstance(value, Ready)):
            if not is_ready:
                yield lead + json.dumps(list(run), ensure_ascii=True)[1:-1].encode()
                lead = b", "
                continue
            for value in cast("Iterator[Ready]", run):
                yield lead
                yield from value.parts
                lead = b", "
    yield b"[]\n" if lead == b"[" else b"]\n"


def error_answer(error: CumulusError, field: str | None, status: int | None = None) -> Response:
    """``{"error": {"code", "message", "field"}}``, with the status of the error's class where no other is given.

    ``field``: what this API calls the field at fault.
    """
    problem = {"code": error.code, "message": error.message, "field": field}
    return answer({"error": problem}, error.http_status if status is None else status)
