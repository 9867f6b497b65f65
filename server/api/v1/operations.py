"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import (
    apps,
    audit,
    batches,
    flavors,
    groups,
    jobs,
    presets,
    queue,
    records,
    snapshots,
    storage,
    system,
    tokens,
    usage,
    users,
    workers,
    workflows,
    workspaces,
)
from server.api.v1.binding import Bound, BoundDownload

OPERATIONS: tuple[Bound, ...] = (
    *jobs.OPERATIONS,
    *batches.OPERATIONS,
    *records.OPERATIONS,
    *apps.OPERATIONS,
    *workflows.OPERATIONS,
    *presets.OPERATIONS,
    *flavors.OPERATIONS,
    *storage.OPERATIONS,
    *queue.OPERATIONS,
    *workers.OPERATIONS,
    *workspaces.OPERATIONS,
    *snapshots.OPERATIONS,
    *users.OPERATIONS,
    *groups.OPERATIONS,
    *tokens.OPERATIONS,
    *audit.OPERATIONS,
    *usage.OPERATIONS,
    *system.OPERATIONS,
)
DOWNLOADS: tuple[BoundDownload, ...] = (*jobs.DOWNLOADS, *usage.DOWNLOADS)
