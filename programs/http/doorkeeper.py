"""Asks each request of a Flask application who has caused it, before any route does something."""

from collections.abc import Callable, Collection

import structlog
from flask import Response, request

from programs.http.rare_log import RareLog
from programs.http.visitors import Foreign, Visitors

FORBIDDEN = 403
log = structlog.get_logger()


class Doorkeeper:
    """Lets only a server's own clients pass.

    ``changing``: the routes that change something though they are asked for by GET; ``refused`` makes the answer to the others.
    """

    def __init__(self, visitors: Visitors, changing: Collection[str], refused: Callable[[Foreign], Response]) -> None:
        self._visitors = visitors
        self._changing = changing
        self._refused = refused
        self._log = RareLog()

    def refuse(self) -> Response | None:
        """The answer to a request that a foreign page may have caused; None where it may pass."""
        target = request.environ.get("REQUEST_URI", "")
        foreign = self._visitors.objection(request.headers.get, target, changes=route_of(request.path) in self._changing)
        if foreign is None:
            return None
        if (more := self._log.left_out(foreign.field)) is not None:
            log.warning(
                "a request was refused", code=foreign.code, field=foreign.field, detail=foreign.message, others_since=more
            )
        return self._refused(foreign)


def route_of(path: str) -> str:
    """The first word of a path, which says which route it is."""
    return path.lstrip("/").partition("/")[0]
