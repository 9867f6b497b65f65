"""How answers look on the wire: ASCII JSON that nobody caches, and errors in one shape."""

import html
import json

from flask import Response

from server.errors import CumulusError


def answer(value: object, status: int = 200) -> Response:
    """JSON with every character beyond ASCII escaped: the desktop client joins chunks as strings."""
    response = Response(json.dumps(value, ensure_ascii=True) + "\n", status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def error_answer(error: CumulusError, status: int) -> Response:
    """``{"error": {"code", "message", "field"}}``."""
    return answer({"error": {"code": error.code, "message": error.message, "field": error.field}}, status)


def harmless(text: str) -> str:
    """Text that the client puts into its page as HTML, made to show as it reads."""
    return html.escape(text, quote=False)
