"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import apps, audit, groups, jobs, records, tokens, users, workflows
from server.api.v1.binding import Bound, BoundDownload

OPERATIONS: tuple[Bound, ...] = (
    *jobs.OPERATIONS,
    *records.OPERATIONS,
    *apps.OPERATIONS,
    *workflows.OPERATIONS,
    *users.OPERATIONS,
    *groups.OPERATIONS,
    *tokens.OPERATIONS,
    *audit.OPERATIONS,
)
DOWNLOADS: tuple[BoundDownload, ...] = (*jobs.DOWNLOADS,)
