"""How answers look on the wire: ASCII JSON that nobody caches, and errors in one shape."""

import html
import json
from collections.abc import Iterable
from itertools import islice

from flask import Response

from server.errors import CumulusError

CHUNK = 500


def answer(value: object, status: int = 200) -> Response:
    """JSON with every character beyond ASCII escaped: the desktop client joins chunks as strings."""
    return answer_parts([encoded(value)], status)


def encoded(value: object) -> bytes:
    """The JSON of an answer."""
    return (json.dumps(value, ensure_ascii=True) + "\n").encode()


def answer_parts(parts: list[bytes], status: int = 200) -> Response:
    """An answer whose JSON is there already."""
    response = Response(parts, status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def array(values: Iterable[object]) -> list[bytes]:
    """A list as JSON in parts, made as the values come: a long one is never there as objects."""
    parts: list[bytes] = []
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        text = json.dumps(chunk, ensure_ascii=True)[1:-1]
        parts.append((f", {text}" if parts else f"[{text}").encode())
    return [*parts[:-1], parts[-1] + b"]\n"] if parts else [b"[]\n"]


def error_answer(error: CumulusError, status: int) -> Response:
    """``{"error": {"code", "message", "field"}}``."""
    return answer({"error": {"code": error.code, "message": error.message, "field": error.field}}, status)


def harmless(text: str) -> str:
    """Text that the client puts into its page as HTML, made to show as it reads."""
    return html.escape(text, quote=False)
