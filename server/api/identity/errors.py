"""Why somebody is refused at the door of the API."""

import math

from server.errors import CumulusError

UNAUTHORIZED, FORBIDDEN, TOO_MANY = 401, 403, 429
REFUSALS = frozenset({UNAUTHORIZED, FORBIDDEN, TOO_MANY})


class UntrustedNetwork(CumulusError):
    """A name without proof, from where names are not believed."""

    code = "untrusted_network"
    http_status = FORBIDDEN


class ForeignRequest(CumulusError):
    """Another site's page may have caused a change that a session's cookie came with."""

    code = "csrf"
    http_status = FORBIDDEN


class Malformed(CumulusError):
    """The request is not what the route takes."""

    code = "invalid_input"
    http_status = 422


class TooMany(CumulusError):
    """Too often within a time. ``retry_after_s``: when the next try may succeed."""

    code = "rate_limited"
    http_status = TOO_MANY

    def __init__(self, what: str, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(f"{what}: try again in {self.retry_after_s} s")
