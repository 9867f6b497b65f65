"""All operations of the API with their handlers, in the order of the documentation."""

from server.api.v1 import jobs

OPERATIONS = (*jobs.OPERATIONS,)
DOWNLOADS = ()
