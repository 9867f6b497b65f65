"""Who asks on the desktop client's routes: its claimed name where the network is trusted, or whoever a token belongs to.

A session's cookie counts for nothing here: the client has none, and its GETs change something.
"""

import structlog
from flask import Response, g, request

from programs.http.doorkeeper import route_of
from programs.http.rare_log import RareLog
from server.api.desktop.refusals import START, refused_caller
from server.api.identity.identification import Identification, client_of_request
from server.api.identity.trail import Trail, claim
from server.errors import CumulusError
from server.services.principal import Forbidden, Principal, Role, Scope

OPEN = frozenset({"config", "info", "apps"})  # without them the client does not start, and could show no message
LISTS = frozenset({"joblist", "search"})  # of everybody's jobs
MAX_READ = 256 * 1024  # bytes of a form that is read only for the name in it
log = structlog.get_logger()


class Callers:
    """Lets callers pass, or says no in the shape of the route."""

    def __init__(self, identification: Identification, trail: Trail) -> None:
        self._identification = identification
        self._trail = trail
        self._logged = RareLog()

    def refuse(self) -> Response | None:
        """The answer to who may not ask; None where the request may pass."""
        try:
            self._require_known()
        except CumulusError as error:
            _note_claim()
            self._log(error)
            # An agent of an earlier version takes an empty list for jobs that were deleted; alone of all clients it has no name.
            return refused_caller(error, shows_status=sends_credential() or _is_agents() or "User-Agent" not in request.headers)
        return None

    def is_known(self) -> bool:
        """Whether the caller may see what is not for everybody."""
        return _credential() is not None or self._identification.is_trusted(request)

    def owner(self, claimed: str) -> Principal:
        """Who wants to change something of this owner's. Raises Forbidden, ScopeMissing."""
        found = self._of(claimed)
        found.require_scope(Scope.SUBMIT)
        return self._require(found, claimed, found.may_use(claimed))

    def reader(self, claimed: str) -> Principal:
        """Who wants to see something of this owner's. Raises Forbidden, ScopeMissing."""
        found = self._of(claimed)
        found.require_scope(Scope.READ)
        return self._require(found, claimed, found.may_see(claimed))

    def submitter(self, claimed: str) -> Principal:
        """Who submits a job of this owner's. Raises as :meth:`owner`, TooMany."""
        found = self.owner(claimed)
        self._identification.limits.submission(found.name)
        return found if found.name == claimed else Principal.desktop(claimed).asking_from(found.origin)

    def agent(self) -> Principal:
        """The agent, by its token or in a trusted network."""
        return _credential() or self._of_network(Principal.agent())

    def changed(self, action: str, job_id: int) -> None:
        """Record what was done with a job."""
        self._trail.changed(f"job_{action}", f"job {job_id}", g.principal)

    def _log(self, error: CumulusError) -> None:
        """So that an administrator finds the address that a setting lacks; once a minute, since strangers can cause it."""
        if (others := self._logged.left_out(error.code)) is not None:
            address = client_of_request(request).address
            log.warning("a caller was refused", code=error.code, address=address, detail=error.message, others_since=others)

    def _require_known(self) -> None:
        route = route_of(request.path)
        g.credential = found = self._identification.by_credential(request)
        if found is None:
            if route not in OPEN:
                self._identification.require_trusted(request)
            return
        if route in LISTS and not found.is_administrator and not (route == "joblist" and Role.AGENT in found.roles):
            raise Forbidden("this list has everybody's jobs: with a token, ask /api/v1/jobs for those that you may see")
        if route not in OPEN and not _is_agents():
            found.require_scope(Scope.SUBMIT if f"/{route}" == START else Scope.READ)

    def _of(self, claimed: str) -> Principal:
        return _credential() or self._of_network(Principal.desktop(claimed))

    def _of_network(self, principal: Principal) -> Principal:
        return self._identification.noted(request, principal)

    def _require(self, principal: Principal, claimed: str, is_permitted: bool) -> Principal:
        if is_permitted:
            return principal
        raise Forbidden(f"you are {principal.name}, and may not do this for {claimed[:100]}")


def sends_credential() -> bool:
    """Whether the request comes with a token: the desktop client's never does, so this one looks at the status."""
    return "Authorization" in request.headers or g.get("credential") is not None


def _credential() -> Principal | None:
    found: Principal | None = g.get("credential")
    return found


def _is_agents() -> bool:
    """Whether only an agent has a use for the route."""
    return route_of(request.path) == "fail"


def _note_claim() -> None:
    """The name that the form claims, for the audit; the others have it in their path."""
    if f"/{route_of(request.path)}" == START and (request.content_length or 0) <= MAX_READ:
        claim(request.form.get("username", ""))
