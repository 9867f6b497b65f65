"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1.accounts import audit, groups, tokens, users
from server.api.v1.binding import Bound, BoundDownload
from server.api.v1.installation import flavors, queue, snapshots, storage, system, workers, workspaces
from server.api.v1.jobs import apps, batches, jobs, presets, records, usage, workflows

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
DOWNLOADS: tuple[BoundDownload, ...] = (*jobs.DOWNLOADS, *storage.DOWNLOADS, *usage.DOWNLOADS)
