"""What people do with jobs: submit, cancel, fail, find. Owns the rules of who may; leaves the work to the loop."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peewee import SqliteDatabase

from server.catalog.apps import App, Catalog
from server.catalog.flavors import Flavor, Flavors
from server.catalog.forms import completed
from server.catalog.settings_text import parse_settings
from server.catalog.values import InputFile, input_files
from server.db.models import Job
from server.db.queries import known_job, unfinished_jobs
from server.db.transactions import exclusive
from server.db.transitions import Change, transition
from server.engine.duties.retention_plan import needed_steps
from server.engine.installed_apps import InstalledApps
from server.engine.records.job_store import JobStore
from server.engine.records.manifests import Manifests
from server.engine.records.recording import Learned
from server.engine.workflows import require_steps, workflow_of
from server.errors import CumulusError, InvalidInput, NotFound, no_job
from server.reasons import Reason
from server.services.submission import parse_number, require_description, require_harmless_paths, require_owner, require_workflow
from server.states import JobState
from server.storage.conversions import conversion
from server.storage.folders import JobFolder, Storage

AGENT_TROUBLES = {  # that are not the submitter's matter, by the agent's names for them
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


@dataclass(frozen=True)
class Submission:
    """A client's wish, as text from outside; checked by :meth:`Jobs.submit`."""

    owner: str
    app: str
    flavor: str
    settings: str
    description: str = ""
    start_after: str = ""
    workflow: str = ""


class JobService:
    """The jobs of this installation."""

    def __init__(
        self,
        database: SqliteDatabase,
        catalog: Catalog,
        flavors: Flavors,
        storage: Storage,
        store: JobStore,
        manifests: Manifests,
        *,
        has_program: Callable[[str], bool],
        installed: InstalledApps,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._flavors = flavors
        self._storage = storage
        self._has_program = has_program
        self._installed = installed
        self._clock = clock
        self._wake = wake
        self._store = store
        self._manifests = manifests

    def submit(self, wish: Submission) -> Job:
        """Store a job and make its folder; it starts once its files are there.

        Raises InvalidInput, NotFound, StorageFull, HomeFull, StorageUnusable.
        """
        self._store.require_room()
        owner = require_owner(wish.owner)
        description = require_description(wish.description)
        flavor = self._flavor(wish.flavor)
        before = self._predecessor(wish.start_after, owner)
        app = self._app(wish.app)
        form = completed(app, parse_settings(wish.settings))
        inputs = self._inputs(app, form, before)
        job = self._store.add(
            Learned(app, self._catalog.checksum(app.id), inputs),
            whole=bool(inputs) and all(file.result for file in inputs),
            owner=owner,
            app=wish.app,
            flavor=flavor.name,
            weight=flavor.weight,
            description=description,
            settings=json.dumps(form),
            inputs="\n".join(file.name for file in inputs),
            workflow=require_workflow(wish.workflow),
            start_after=None if before is None else before.id,
        )
        self._wake()
        return job

    def get(self, job_id: int, owner: str | None = None) -> Job:
        """A job; with ``owner``, only if it is that person's. Raises NotFound."""
        job = known_job(job_id)
        if job is None or (owner is not None and job.owner != owner):
            raise NotFound(no_job(job_id, owner or ""), field="job_id")
        return job

    def folder(self, job: Job) -> JobFolder:
        """The job's folder in the storage."""
        return self._storage.folder(job.folder)

    def finish_interrupted(self) -> None:
        """Bring to their end the submissions and deletions in which a controller was killed; before this one answers."""
        self._store.finish_interrupted()

    def cancel(self, job_id: int, owner: str) -> str:
        """End the owner's job with its whole workflow, whatever they are doing; what has ended stays as it is.

        Returns a sentence. Raises NotFound, AlreadyEnded.
        """
        job = self.get(job_id, owner)
        ended = self._end_workflow(job, JobState.CANCELLED, Change(self._clock(), who=owner, reason=Reason.CANCELLED))
        if not ended:
            raise AlreadyEnded(f"Job {job_id} had already ended", field="job_id")
        others = [str(number) for number in ended if number != job_id]
        return f"Job {job_id} is cancelled" + (f", with {', '.join(others)} of its workflow" if others else "")

    def delete(self, job_id: int, owner: str) -> str:
        """Delete the owner's job with its whole workflow, for everybody and for good; its number and an event stay.

        Returns a sentence. Raises NotFound, HomeFull, StorageUnusable, InvalidInput while a step has not ended.
        """
        if Job.select().where(Job.id == job_id, Job.owner == owner, Job.state == JobState.DELETED).exists():
            return f"Job {job_id} was deleted before"
        gone = self._store.delete(lambda: self._deletable(job_id, owner), Change(self._clock(), who=owner, text=DELETED))
        return f"Job {', '.join(str(step.id) for step in gone)} is deleted"

    def not_installed(self) -> frozenset[str]:
        """The apps that the machines lack, and the workflows with a step of one.

        They were not tried on the snapshot, or somebody has to agree to a licence first.
        """
        missing = self._installed.missing()
        steps = {found.id: {step.app for step in found.steps} for found in self._catalog.workflows().values()}
        return frozenset(missing) | {workflow for workflow, apps in steps.items() if apps & missing.keys()}

    def awaited(self) -> list[str]:
        """Names of the shared files that jobs still wait for."""
        waiting = [job.id for job in unfinished_jobs() if job.state == JobState.UPLOADING]
        return sorted({file.name for job_id in waiting for file in self._shared_inputs(job_id)})

    def fail(self, job_id: int, message: str, trouble: str = "") -> None:
        """An input file of a job that still waits for its files cannot be sent (the agent says so). Raises NotFound.

        ``trouble``: what the agent has met, as it calls it; "" where the agent does not say.
        """
        job = self.get(job_id)
        if job.state == JobState.UPLOADING:
            text = message.replace("\0", "")[:2000]
            reason = AGENT_TROUBLES.get(trouble, Reason.UPLOAD_FAILED)
            change = Change(self._clock(), who="agent", reason=reason, text=text)
            self._end_workflow(job, JobState.FAILED, change)

    def _end_workflow(self, job: Job, end: JobState, change: Change) -> list[int]:
        """End all steps of the job's workflow, or none; the numbers of those that had not ended."""
        with exclusive(self._database):
            ended = [step for step in workflow_of(job) if self._end(step, end, change)]
        for step in ended:
            self.folder(step).instructions.request_stop()
            self._manifests.write(step.id)
        self._wake()
        return sorted(step.id for step in ended)

    def _end(self, job: Job, end: JobState, change: Change) -> bool:
        """Move a job to ``end`` from wherever it is; False if it had ended. Within a transaction: it stays there meanwhile."""
        state = JobState(self.get(job.id).state)
        if state.is_final:
            return False
        message = Reason(change.reason).explain(change.text)
        fields = {"ended": change.at, "outcome": end, "reason": change.reason, "message": message}
        return transition(Job, job.id, state, end, change, fields)

    def _deletable(self, job_id: int, owner: str) -> list[Job]:
        """The job with its workflow. Raises NotFound, InvalidInput."""
        steps = workflow_of(self.get(job_id, owner))
        needed = needed_steps()
        if kept := [str(step.id) for step in steps if step.id in needed]:
            raise InvalidInput(f"job {', '.join(kept)} has not ended, or is needed by one that has not", field="job_id")
        return steps

    def _shared_inputs(self, job_id: int) -> list[InputFile]:
        job = Job.get_by_id(job_id)
        try:
            files = input_files(self._catalog.get(job.app), parse_settings(job.settings))
        except CumulusError:  # the app has changed since
            return []
        return [file for file in files if file.shared]

    def _flavor(self, name: str) -> Flavor:
        flavor = self._flavors.get(name)
        if flavor is None:
            raise InvalidInput(f"there is no machine size {name[:80]!r}", field="strategy")
        if flavor.weight > self._flavors.max_weight:
            text = f"the machine size {name} weighs {flavor.weight}, more than the {self._flavors.max_weight} allowed in all"
            raise InvalidInput(text, field="strategy")
        return flavor

    def _app(self, app_id: str) -> App:
        """An app that the machines have. Raises NotFound, InvalidInput."""
        app = self._catalog.get(app_id)
        self._installed.require(app)
        return app

    def _inputs(self, app: App, form: Mapping[str, Any], before: Job | None) -> list[InputFile]:
        """The input files of a complete form, each of them possible. Raises InvalidInput."""
        require_harmless_paths(app, form)
        files = input_files(app, form)
        require_steps(files, before)
        for file in files:
            if file.convert:
                self._require_converter(file)
        return files

    def _require_converter(self, file: InputFile) -> None:
        how = conversion(file.name)
        if how is None:
            raise InvalidInput(f"{file.name} is of a kind that cannot be converted to mzML", field=file.parameter)
        if not self._has_program(how.program):
            text = f"{file.name} cannot be converted to mzML: the machines have no {how.program}; ask who runs this installation"
            raise InvalidInput(text, field=file.parameter)

    def _predecessor(self, text: str, owner: str) -> Job | None:
        number = parse_number(text, "start_after_id")
        if number is None:
            return None
        before = known_job(number)
        if before is None or before.owner != owner:
            raise InvalidInput(f"{owner} has no job {number} to start after", field="start_after_id")
        if before.outcome in (JobState.FAILED, JobState.CANCELLED):
            raise InvalidInput(f"job {number} is {before.outcome}, nothing can start after it", field="start_after_id")
        return before
