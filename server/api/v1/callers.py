"""Who asks for an operation, how often they may, and what is recorded of it."""

from flask import Request, request

from server.api.identity.identification import Identification
from server.api.identity.trail import Trail
from server.api.v1.binding import Bound, BoundDownload
from server.services.principal import Principal, Scope

SUBMISSIONS = frozenset({"jobs.submit", "jobs.retry", "batches.create", "batches.retry"})
MAX_SUBJECT = 200  # characters
READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Callers:
    """Lets callers of operations pass."""

    def __init__(self, identification: Identification, trail: Trail) -> None:
        self._identification = identification
        self._trail = trail

    def admit(self, one: Bound | BoundDownload) -> Principal:
        """Who asks. Raises Unauthenticated, Forbidden, TooMany."""
        who = self._identification.identify(request)
        who.require_scope(Scope(one.operation.scope))
        if one.operation.name in SUBMISSIONS:
            self._identification.limits.submission(who.name)
        return who

    def uploader(self, _request: Request) -> Principal:
        """Who looks at uploads, or sends one. Raises as :meth:`admit`."""
        who = self._identification.identify(request)
        who.require_scope(Scope.READ if request.method in READING else Scope.SUBMIT)
        return who

    def changed(self, one: Bound, who: Principal) -> None:
        """Record what an operation has changed, unless its service does."""
        if one.operation.method != "GET" and not one.records_itself:
            self._trail.changed(one.operation.name, request.path[:MAX_SUBJECT], who)
