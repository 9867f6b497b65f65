"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import batches, jobs, presets, usage
from server.api.v1.binding import Bound, BoundDownload

OPERATIONS: tuple[Bound, ...] = (*jobs.OPERATIONS, *batches.OPERATIONS, *presets.OPERATIONS, *usage.OPERATIONS)
DOWNLOADS: tuple[BoundDownload, ...] = (*usage.DOWNLOADS,)
