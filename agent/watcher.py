"""Asking the controller whether the jobs that files are sent for are still wanted: cancelled, failed and deleted ones are not.

By the desktop client's REST (``GET /joblist/ID/1``), which every version of the controller has. If it is away, or answers
something else, all jobs count as wanted.
"""

from collections.abc import Callable

import structlog

from agent.http_client import HttpClient, NoAnswer, NotAdmitted
from agent.queue.models import Job
from agent.queue.queue import Queue
from agent.sending.children import Children
from agent.settings import Settings

FIRST = 10  # jobs to ask about each time: those for which something is being sent come first
OTHERS = 10  # and so many of the rest, in turn: a long queue asks no more of the controller than a short one
ASK_TIMEOUT_S = 10.0
UNWANTED = {
    "CANCELLED": "it was cancelled at the controller",
    "FAILED": "it has failed at the controller",
    "ARCHIVED_CANCELLED": "it was cancelled at the controller",
    "ARCHIVED_FAILED": "it has failed at the controller",
}
DELETED = "it was deleted at the controller"
log = structlog.get_logger()


class Watcher:
    """Ends jobs that have ended at the controller."""

    def __init__(self, settings: Settings, queue: Queue, children: Children, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._queue = queue
        self._children = children
        self._clock = clock
        self._asked = 0
        self._refusal = ""
        self._missing: set[int] = set()  # not in the list when it was asked last: once may be a controller that is just starting

    def check(self, jobs: list[Job]) -> None:
        """Ask about the first of these jobs and some others, and end those no longer wanted. Stops if the controller is away."""
        with HttpClient(self._settings.controller, ASK_TIMEOUT_S, self._settings.token) as client:
            for job in self._chosen(jobs):
                try:
                    why = self._unwanted(client, job)
                except NotAdmitted as error:
                    self._say_once(error.message)
                    return
                except (NoAnswer, ValueError, TypeError, KeyError) as error:
                    log.info("the controller does not say which jobs it wants", detail=f"{type(error).__name__}: {error}")
                    return
                self._refusal = ""
                if why:
                    self._withdraw(job, why)

    def _say_once(self, refusal: str) -> None:
        """An administrator has to do something: said again only where it is something else."""
        if refusal != self._refusal:
            log.warning("the controller does not say which jobs it wants", detail=refusal)
        self._refusal = refusal

    def _chosen(self, jobs: list[Job]) -> list[Job]:
        others = jobs[FIRST:]
        start = self._asked % len(others) if others else 0
        self._asked = start + OTHERS
        return jobs[:FIRST] + (others + others)[start : start + min(OTHERS, len(others))]

    def _unwanted(self, client: HttpClient, job: Job) -> str:
        """Why a job is not wanted any more; "" where it is."""
        answer = client.get(f"/joblist/{job.number}/1")
        answer.require_admitted()
        if not answer.is_ok:
            raise NoAnswer(f"it answers {answer.status}")
        rows = answer.json()
        if not isinstance(rows, list):
            raise TypeError("this is no list of jobs")
        states = [str(row["status"]) for row in rows if row["id"] == job.number]
        if states:
            self._missing.discard(job.id)
            return UNWANTED.get(states[0], "")
        if job.id in self._missing:
            return DELETED
        self._missing.add(job.id)
        return ""

    def _withdraw(self, job: Job, why: str) -> None:
        self._missing.discard(job.id)
        found, stopped = self._queue.jobs.withdraw(job, why, self._clock())
        self._children.end(stopped)
        if found:
            log.info("a job is not wanted any more", job_id=job.number, owner=job.owner, detail=why)
