"""The agent's door: its limits, whom it lets in, and what says no in the shape of each route."""

import json
from typing import Any

import structlog
from flask import Flask, Response, request

from agent.settings import Settings
from programs.descriptors import connections_for
from programs.http.door import KEPT_BYTES, POLL_S, Door, Limits, open_door
from programs.http.doorkeeper import FORBIDDEN, Doorkeeper, route_of
from programs.http.visitors import Foreign, visitors

SHORT, LARGE = range(2)  # pools
LARGE_BYTES = 256 * 1024
KEPT_FORMS = 8  # of the longest that may wait at a time, at least
OWN_FILES = 64  # beside the threads: logs, the queue's files of the loop, pipes of the transfers
FILES_PER_THREAD = 4
FILES_PER_TRANSFER = 8
CHANGING = ("cancel-rsync",)  # though it is asked for by GET
_SENTENCES = ("send-rsync", "cancel-rsync", "status")
_EMPTY: dict[str, object] = {"list-rsync": [], "queue": [], "progress-rsync": {}}
log = structlog.get_logger()


def refusal(path: str, message: str) -> object:
    """What says no on the route of this path: the client waits for ever on another shape."""
    route = route_of(path)
    return message if route in _SENTENCES else _EMPTY.get(route, {"error": {"code": "refused", "message": message}})


def encoded_refusal(path: str, message: str) -> bytes:
    """The same, as it is sent."""
    return (json.dumps(refusal(path, message), ensure_ascii=True) + "\n").encode()


def open_agent_door(settings: Settings, app: Flask, connections: int, poll_s: float = POLL_S) -> Door:
    """The door of an agent with these settings, listening. Raises as :func:`open_door`."""
    limits = Limits(
        connections,
        settings.max_header_kib * 1024,
        settings.max_post_bytes,
        settings.header_timeout_s,
        settings.body_timeout_s,
        settings.idle_timeout_s,
        max(KEPT_BYTES, KEPT_FORMS * settings.max_post_bytes),
    )
    return open_door(app, settings.host, settings.port, limits, encoded_refusal, (settings.threads, 1), pool, poll_s=poll_s)


def connections_beside(settings: Settings) -> int:
    """How many connections there can be beside all else that the agent opens. Raises TooFewFiles."""
    reserve = OWN_FILES + FILES_PER_THREAD * settings.threads + FILES_PER_TRANSFER * settings.parallel
    found = connections_for(settings.max_connections, reserve)
    if found < settings.max_connections:
        log.warning("fewer connections than max_connections: too few files may be open", connections=found)
    return found


def pool(request: Any) -> int:
    """Which threads answer a request: large orders are read one at a time, since that takes several times their size."""
    return LARGE if request.body_bytes_received > LARGE_BYTES else SHORT


def doorkeeper(settings: Settings) -> Doorkeeper:
    """Lets only the agent's own clients pass: no web page may make it send files."""
    return Doorkeeper(visitors(settings.host, settings.allowed_hosts), CHANGING, _refused)


def _refused(foreign: Foreign) -> Response:
    response = Response(encoded_refusal(request.path, foreign.message), status=FORBIDDEN, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
