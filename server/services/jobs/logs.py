"""A job's log: what its run has written, with what happened to the job beside it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from server.catalog.flavors import read_flavors
from server.engine.history import last_word, remarks
from server.engine.situation import Situations
from server.services.jobs.lookup import find_job
from server.services.principal import Principal, Role
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage
from server.storage.logs.job_log import Log
from server.storage.logs.spliced import Spliced

POLL_S = 0.5


@dataclass(frozen=True)
class End:
    """How a job ended. ``text``: its message or its warning."""

    is_done: bool
    text: str


class JobLogs:
    """The logs of an installation whose database is open."""

    def __init__(self, settings: Settings) -> None:
        self._storage = Storage(settings.storage)
        self._situations = Situations(settings, self._storage, read_flavors(settings.flavors).max_weight)

    def whole(self, principal: Principal, job_id: int) -> Spliced:
        """All of the log, however long, as a file to read and close. Raises NotFound, Forbidden."""
        principal.require(Role.USER)
        job = find_job(job_id)
        log = Log(self._storage.folder(job.folder).log.path)
        return log.whole(remarks(job, self._situations), last_word(job))

    def growth(self, principal: Principal, job_id: int, note: Callable[[str], None]) -> Iterator[str]:
        """What the log gains until the job has ended; ``note`` is given what the job is at. Raises NotFound, Forbidden."""
        principal.require(Role.USER)
        position, shown = 0, set[str]()
        while True:
            job = find_job(job_id)
            note(f"{job.state}: {job.message}" if job.message else str(job.state))
            lines = (one.line().decode() for one in remarks(job, self._situations))
            happened = [line for line in lines if line not in shown]
            shown.update(happened)
            text, position = self._storage.folder(job.folder).log.since(position)
            if happened or text:
                yield "".join(happened) + text
            elif JobState(job.state).is_final:
                return
            else:
                time.sleep(POLL_S)

    def end(self, principal: Principal, job_id: int) -> End:
        """How a job that was followed has ended, also one that is archived since. Raises NotFound, Forbidden."""
        principal.require(Role.USER)
        job = find_job(job_id)
        text = job.message or (f"done with a warning: {job.warning}" if job.warning else "")
        return End(JobState.DONE in (job.state, job.outcome), text)
