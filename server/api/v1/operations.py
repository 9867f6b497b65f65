"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import batches, jobs, presets, usage

OPERATIONS = (*jobs.OPERATIONS, *batches.OPERATIONS, *presets.OPERATIONS, *usage.OPERATIONS)
DOWNLOADS = (*usage.DOWNLOADS,)
