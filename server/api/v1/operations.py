"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import audit, groups, jobs, tokens, users
from server.api.v1.binding import Bound, BoundDownload

OPERATIONS: tuple[Bound, ...] = (
    *jobs.OPERATIONS,
    *users.OPERATIONS,
    *groups.OPERATIONS,
    *tokens.OPERATIONS,
    *audit.OPERATIONS,
)
DOWNLOADS: tuple[BoundDownload, ...] = ()
