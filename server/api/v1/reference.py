"""Where the API describes itself, for programs and for people; to anybody, since it says nothing of the installation."""

import json
import secrets
from functools import cache

from flask import Blueprint, Response, render_template

from cumulus_client.operations import PREFIX
from programs.version import VERSION
from server.api.v1.openapi import AnyOperation, document, entries
from server.api.v1.operations import DOWNLOADS, OPERATIONS


def reference() -> Blueprint:
    """The two routes. The page loads nothing from elsewhere: it works without the internet."""
    routes = Blueprint("v1_reference", __name__, url_prefix=PREFIX, template_folder="templates")
    routes.add_url_rule("/openapi.json", "openapi", _openapi)
    routes.add_url_rule("/docs", "docs", _page)
    return routes


@cache
def _document() -> bytes:
    return json.dumps(document([one.operation for one in OPERATIONS], [one.operation for one in DOWNLOADS], VERSION)).encode()


def _openapi() -> Response:
    return Response(_document(), mimetype="application/json")


def _page() -> Response:
    operations: list[AnyOperation] = [*(one.operation for one in OPERATIONS), *(one.operation for one in DOWNLOADS)]
    nonce = secrets.token_urlsafe(16)
    response = Response(render_template("reference.html", version=VERSION, entries=list(entries(operations)), nonce=nonce))
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
