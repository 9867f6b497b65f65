"""The parts of a job's folder; :class:`server.storage.folders.JobFolder` is the way to them."""
