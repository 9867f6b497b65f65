"""Asks each request of a Flask application who has caused it, before any route does something."""

from collections.abc import Callable, Collection

import structlog
from flask import Response, request

from programs.http.rare_log import RareLog
from programs.http.visitors import FOREIGN_PAGE, Foreign, Visitors

FORBIDDEN = 403
log = structlog.get_logger()


class Doorkeeper:
    """Lets only a server's own clients pass.

    ``changing``: the routes that change something though they are asked for by GET; ``refused`` makes the answer to the others.
    ``open_paths``: where other sites send their visitors on purpose; only the server's own name counts there.
    """

    def __init__(
        self,
        visitors: Visitors,
        changing: Collection[str],
        refused: Callable[[Foreign], Response],
        open_paths: Collection[str] = (),
    ) -> None:
        self._visitors = visitors
        self._changing = changing
        self._refused = refused
        self._open_paths = open_paths
        self._log = RareLog()

    def refuse(self) -> Response | None:
        """The answer to a request that a foreign page may have caused; None where it may pass."""
        target = request.environ.get("REQUEST_URI", "")
        foreign = self._visitors.objection(request.headers.get, target, changes=route_of(request.path) in self._changing)
        if foreign is not None and foreign.code == FOREIGN_PAGE and request.path in self._open_paths and request.method == "GET":
            return None
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
