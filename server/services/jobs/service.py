"""What people do with jobs: submit, cancel, delete, and what the agent reports. Decides who may; leaves the work to the loop."""

import json
from collections.abc import Callable
from dataclasses import asdict

from peewee import SqliteDatabase

from server.catalog.apps import Catalog
from server.catalog.settings_text import parse_settings
from server.catalog.values import InputFile, input_files
from server.db.models import Job
from server.db.queries import known_job, unfinished_jobs
from server.db.transactions import exclusive
from server.db.transitions import Change
from server.engine.duties.retention_plan import needed_steps
from server.engine.records.job_store import JobStore
from server.engine.records.manifests import Manifests
from server.engine.records.recording import Learned
from server.engine.workflows import workflow_of
from server.errors import CumulusError, InvalidInput, NotFound, no_job
from server.reasons import Reason
from server.services.jobs.ending import end_job
from server.services.jobs.submission import Submission, SubmissionCheck
from server.services.jobs.submission_keys import Key, MadeMeanwhile
from server.services.jobs.visibility import job_to_change
from server.services.principal import Established, Forbidden, Principal, Role
from server.states import JobState
from server.storage.folders import JobFolder, Storage

AGENT_FAILURES = {  # that the submitter cannot fix, by the agent's names for them
    "target_full": Reason.CONTROLLER_DISK_FULL,
    **dict.fromkeys(
        (
            "network",
            "interrupted",
            "target_refuses",
            "target_gone",
            "target_damaged",
            "login_refused",
            "host_key_changed",
            "setup",
        ),
        Reason.UPLOAD_REFUSED,
    ),
}
DELETED = "deleted by its owner"


class AlreadyEnded(CumulusError):
    """There is nothing left to cancel."""

    code = "already_ended"
    http_status = 409


class JobService:
    """The jobs of this installation. ``wake``: has the loop look at them at once; ``clock``: Unix seconds."""

    def __init__(
        self,
        database: SqliteDatabase,
        catalog: Catalog,
        storage: Storage,
        store: JobStore,
        manifests: Manifests,
        check: SubmissionCheck,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._storage = storage
        self._store = store
        self._manifests = manifests
        self._check = check
        self._clock = clock
        self._wake = wake

    def submit(
        self, principal: Principal, request: Submission, owner: str = "", also: Callable[[Job], None] = lambda _: None
    ) -> Job:
        """Store a job and make its folder; it starts once its files are there. ``owner``: whose it is, "" for the principal's.

        ``also``: is called with it in the transaction that makes it.

        Raises InvalidInput, NotFound, Forbidden, StorageFull, HomeFull, StorageUnusable.
        """
        return self._submit(principal, request, owner, also)

    def submit_once(self, principal: Principal, request: Submission, owner: str, key: str) -> tuple[Job, bool]:
        """The same for a key, which the principal may use again for the same request: then the job is the one that there is.

        Returns it, and whether it is new. Raises KeyReused and as :meth:`submit`.
        """
        known = Key(principal.name, key, {**asdict(request), "owner": owner}, self._clock)
        if job := known.job():
            return job, False
        try:
            return self._submit(principal, request, owner, known.keep), True
        except MadeMeanwhile:
            return self.submit_once(principal, request, owner, key)

    def _submit(self, principal: Principal, request: Submission, owner: str, also: Callable[[Job], None]) -> Job:
        self._store.require_room()
        principal.require(Role.USER)
        of_whom = owner or principal.name
        if owner and not principal.may_use(owner):
            raise Forbidden(f"{principal.name} may not submit jobs of {owner}: only an administrator may", field="owner")
        asked = self._check.checked(of_whom, request)
        job = self._store.add(
            Learned(asked.app, self._catalog.checksum(asked.app.id), asked.inputs),
            whole=request.complete or (bool(asked.inputs) and all(file.result for file in asked.inputs)),
            also=also,
            owner=asked.owner,
            app=asked.app.id,
            flavor=asked.flavor.name,
            weight=asked.flavor.weight,
            description=asked.description,
            settings=json.dumps(asked.form),
            inputs="\n".join(file.name for file in asked.inputs),
            workflow=asked.workflow,
            start_after=None if asked.before is None else asked.before.id,
        )
        self._wake()
        return job

    def get(self, principal: Principal, job_id: int, owner: str = "") -> Job:
        """A job that is the principal's to change. ``owner``: only if it is this one's. Raises NotFound, Forbidden."""
        if Role.USER in principal.roles and principal.established is not Established.DESKTOP_CLAIM:
            return job_to_change(principal, job_id, owner)
        job = known_job(job_id)
        if job is None or not principal.may_use(job.owner):
            raise NotFound(no_job(job_id, principal.name), field="job")
        return job

    def folder(self, job: Job) -> JobFolder:
        """The job's folder in the storage."""
        return self._storage.folder(job.folder)

    def finish_interrupted(self) -> None:
        """Bring to their end the submissions and deletions in which a controller was killed; before this one answers."""
        self._store.finish_interrupted()

    def cancel(self, principal: Principal, job_id: int, owner: str = "") -> str:
        """End a job with its whole workflow, whatever they are doing; what has ended stays as it is.

        ``owner``: only if it is this one's. Returns a sentence. Raises NotFound, Forbidden, AlreadyEnded.
        """
        job = self.get(principal, job_id, owner)
        change = Change(self._clock(), who=principal.name, reason=Reason.CANCELLED)
        ended = self._end_workflow(job, JobState.CANCELLED, change)
        if not ended:
            raise AlreadyEnded(f"Job {job_id} had already ended", field="job")
        others = [str(number) for number in ended if number != job_id]
        return f"Job {job_id} is cancelled" + (f", with {', '.join(others)} of its workflow" if others else "")

    def delete(self, principal: Principal, job_id: int, owner: str = "") -> str:
        """Delete a job with its whole workflow, for everybody and for good; its number and an event stay.

        ``owner``: only if it is this one's. Returns a sentence.
        Raises NotFound, Forbidden, HomeFull, StorageUnusable, InvalidInput while a step has not ended.
        """
        before = Job.get_or_none(Job.id == job_id, Job.state == JobState.DELETED)
        if before is not None and principal.may_use(before.owner) and owner in ("", before.owner):
            return f"Job {job_id} was deleted before"
        of = self.get(principal, job_id, owner).owner
        text = DELETED if principal.name == of else "deleted by an administrator"
        change = Change(self._clock(), who=principal.name, text=text)
        gone = self._store.delete(lambda: self._deletable(principal, job_id, owner), change)
        return f"Job {', '.join(str(step.id) for step in gone)} is deleted"

    def not_installed(self) -> frozenset[str]:
        """The apps and workflows that cannot be started: the machines lack an app of them."""
        return self._check.not_installed()

    def awaited(self) -> list[str]:
        """Names of the shared files that jobs still wait for."""
        waiting = [job.id for job in unfinished_jobs() if job.state == JobState.UPLOADING]
        return sorted({file.name for job_id in waiting for file in _shared_inputs(self._catalog, job_id)})

    def fail(self, principal: Principal, job_id: int, message: str, failure: str = "") -> None:
        """An input file of a job that still waits for its files cannot be sent (the agent says so). Raises NotFound, Forbidden.

        ``failure``: what the agent has met, as it calls it; "" where the agent does not say.
        """
        principal.require(Role.AGENT)
        job = known_job(job_id)
        if job is None:
            raise NotFound(no_job(job_id), field="job")
        if job.state == JobState.UPLOADING:
            text = message.replace("\0", "")[:2000]
            reason = AGENT_FAILURES.get(failure, Reason.UPLOAD_FAILED)
            change = Change(self._clock(), who=principal.name, reason=reason, text=text)
            self._end_workflow(job, JobState.FAILED, change)

    def _end_workflow(self, job: Job, end: JobState, change: Change) -> list[int]:
        """End all steps of the job's workflow, or none; the numbers of those that had not ended."""
        with exclusive(self._database):
            ended = [step for step in workflow_of(job) if end_job(step, end, change)]
        for step in ended:
            self.folder(step).instructions.request_stop()
            self._manifests.write(step.id)
        self._wake()
        return sorted(step.id for step in ended)

    def _deletable(self, principal: Principal, job_id: int, owner: str) -> list[Job]:
        """The job with its workflow. Raises NotFound, InvalidInput."""
        steps = workflow_of(self.get(principal, job_id, owner))
        needed = needed_steps()
        if kept := [str(step.id) for step in steps if step.id in needed]:
            raise InvalidInput(f"job {', '.join(kept)} has not ended, or is needed by one that has not", field="job")
        return steps


def _shared_inputs(catalog: Catalog, job_id: int) -> list[InputFile]:
    job = Job.get_by_id(job_id)
    try:
        files = input_files(catalog.get(job.app), parse_settings(job.settings))
    except CumulusError:  # the app has changed since
        return []
    return [file for file in files if file.shared]
