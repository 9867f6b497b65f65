"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import flavors, jobs, queue, snapshots, storage, system, workers, workspaces
from server.api.v1.binding import Bound, BoundDownload

OPERATIONS: tuple[Bound, ...] = (
    *jobs.OPERATIONS,
    *flavors.OPERATIONS,
    *storage.OPERATIONS,
    *queue.OPERATIONS,
    *workers.OPERATIONS,
    *workspaces.OPERATIONS,
    *snapshots.OPERATIONS,
    *system.OPERATIONS,
)
DOWNLOADS: tuple[BoundDownload, ...] = ()
