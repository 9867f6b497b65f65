"""Jobs as lists of many show them, and one of them with all that belongs to it: for clients that ask again every few seconds."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

from server.db.models import Job
from server.db.queries import known_job
from server.db.search import Listed, Query, find, listed, require_short
from server.engine.history import last_word, remarks
from server.engine.situation import Situations
from server.services.jobs.visibility import visible_owners
from server.services.principal import Principal
from server.states import JobState
from server.storage.folders import JobFolder, Storage
from server.storage.logs.job_log import Logs, stamp
from server.storage.outputs import Listing, Outputs


@dataclass(frozen=True)
class Shown:
    """A job with its details. ``log``: what is shown of it; ``files``: its results."""

    job: Job
    log: str
    files: Listing


class JobListings:
    """Lists of an installation's jobs. ``logs``: read for the job with details; ``outputs``: the results that may be listed."""

    def __init__(self, storage: Storage, situations: Situations, logs: Logs, outputs: Outputs) -> None:
        self._storage = storage
        self._situations = situations
        self._logs = logs
        self._outputs = outputs
        self._costly = threading.Lock()

    def found(self, principal: Principal, query: Query) -> Iterator[Listed]:
        """The jobs that match and that the principal may see, as they are read. Raises Forbidden, InvalidInput."""
        require_short(query)
        seen = replace(query, owners=visible_owners(principal))
        with self._costly if query.is_costly else nullcontext():
            yield from find(seen)

    def shown(self, principal: Principal, listed_job: Listed) -> Shown | None:
        """A job of a list with its details; None where it was deleted just now. Raises Forbidden."""
        owners = visible_owners(principal)
        job = known_job(listed_job.id)
        if job is None or (owners is not None and job.owner not in owners):
            return None
        folder = self._storage.folder(job.folder)
        log = self._logs.text(folder.log.path, remarks(job, self._situations)) + last_word(job)
        return Shown(job, log, self._files(folder, job.state))

    def known(self, job_id: int) -> tuple[str, str] | None:
        """The folder and the state of a job, for :meth:`stamp`; None where there is none."""
        found = listed(job_id)
        return (found.folder, found.state) if found else None

    def stamp(self, folder: str, state: str) -> object:
        """Another one where the log or the results of the job in that folder are others."""
        found = self._storage.folder(folder)
        return stamp(found.log.path), self._files(found, state).stamp

    def _files(self, folder: JobFolder, state: str) -> Listing:
        return self._outputs.listing(folder, has_ended=JobState(state).is_final)
