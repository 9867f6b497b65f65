"""A job from its submission to the queue: its files arrive and are pinned, the job before it ends and leaves its
results, its launch is prepared.

Each step may be entered again after a crash. What takes long (folders of many files, copies where nothing can be linked) is done
by :meth:`Intake.prepare` in the background, while the job stays UPLOADING.
"""

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from programs.database.sqlite import is_of_the_file
from server.catalog.apps import Catalog
from server.catalog.settings_text import parse_settings
from server.catalog.values import InputFile, input_files
from server.db.models import Event, Job
from server.db.transitions import Change, record_event, transition
from server.engine.completion import Completion
from server.engine.failures import PATIENCE_S, Failures, describe, reason_of, refusal_reason
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.preparation import Form, Preparation
from server.engine.workflows import bring_results
from server.errors import CumulusError, InvalidInput, NotFound
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.inspection import refusals
from server.storage.inputs.pins import InputProblem, Pinned, Pins, pinned_for
from server.storage.inputs.placing import Allowance, TakesLong, Unwanted

# What may be done in the loop: some milliseconds' worth.
QUICK_FILES = 400
QUICK_BYTES = 1_000_000
INSPECTION_COST = 10  # inspecting a file reads its ends: some files' worth
log = structlog.get_logger()


class Intake:
    """Takes in the jobs of one controller. :meth:`receive` is quick and runs in the loop, :meth:`prepare` may take long."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        storage: Storage,
        completion: Completion,
        conversions: ConversionCache,
        preparation: Preparation,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._storage = storage
        self._completion = completion
        self._conversions = conversions
        self._preparation = preparation
        self._clock = clock
        self._pins = Pins(storage)
        self._failures = Failures()
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """The controller stops: copy no more; the next controller enters the steps again."""
        self._abandoned.set()

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by that much."""
        self._failures.shift(seconds)

    def receive(self, job: Job, now: float) -> bool:
        """UPLOADING: queue the job once its files are there and the job before it is done; fail it where they never will be.

        True where that takes too long for the loop: then :meth:`prepare` continues.
        """
        folder = self._storage.folder(job.folder)
        folder.require()
        before = JobState.DONE if job.start_after is None else self._outcome(job.start_after)
        if before in (JobState.FAILED, JobState.CANCELLED):
            self._completion.fail(job, Reason.STEP_BEFORE_FAILED, f"Job {job.start_after} is {before}.", now)
        elif not folder.has_arrived():
            if now - job.state_since > self._settings.upload_timeout_s:
                self._completion.fail(job, Reason.UPLOAD_TIMEOUT, "", now)
        elif job.not_before <= now and (before == JobState.DONE or pinned_for(folder) is None):
            return self._get_ready(job, folder, Allowance(QUICK_FILES, QUICK_BYTES))
        return False

    def adopt(self) -> None:
        """Pin the input of queued jobs that an earlier version has queued without pinning it.

        What takes long, or fails now, is left for their launch.
        """
        self._preparation.require_key()
        for job in Job.select().where(Job.state == JobState.QUEUED).order_by(Job.id):
            folder = self._storage.folder(job.folder)
            try:
                if folder.path.is_dir() and pinned_for(folder) is None:
                    files = input_files(self._catalog.get(job.app), parse_settings(job.settings))
                    self._record_notes(job, self._pins.pin(folder, files, Allowance(QUICK_FILES, QUICK_BYTES)))
            except (TakesLong, CumulusError, OSError) as problem:
                log.info("a queued job's files are pinned later", job_id=job.id, detail=describe(problem))
            except Exception as problem:
                if is_of_the_file(problem):
                    raise
                log.exception("a queued job's files cannot be pinned", job_id=job.id)

    def prepare(self, job_id: int) -> None:
        """Pin and copy however much it takes. A job that cannot continue now is left for a later inspection."""
        job = Job.get_by_id(job_id)
        try:
            if job.state == JobState.UPLOADING:
                self._get_ready(job, self._storage.folder(job.folder), Allowance(unwanted=lambda: self._is_unwanted(job_id)))
        except Exception as problem:  # whatever it is: the job must not stay here for ever
            if is_of_the_file(problem):
                raise
            self._try_later(job, problem, PATIENCE_S)

    def _is_unwanted(self, job_id: int) -> bool:
        return self._abandoned.is_set() or Job.get_by_id(job_id).state != JobState.UPLOADING

    def _get_ready(self, job: Job, folder: JobFolder, allowance: Allowance) -> bool:
        """Take the job as far as it can come now; True where that takes more than ``allowance``. Raises OSError."""
        try:
            job = Job.get_by_id(job.id)  # with its settings
            self._queue_complete(job, Form.of(job, self._catalog.file_of(job.app)), folder, allowance)
            self._failures.clear(job.id)
        except TakesLong:
            return True
        except Unwanted:
            return False
        except (NotFound, InvalidInput, InputProblem) as error:
            self._completion.fail(job, refusal_reason(error), error.message, self._clock())
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._try_later(job, problem, self._settings.upload_timeout_s)
        return False

    def _queue_complete(self, job: Job, form: Form, folder: JobFolder, allowance: Allowance) -> None:
        files = form.inputs
        pinned = pinned_for(folder) or self._pins.pin(folder, files, allowance)
        self._record_notes(job, pinned)
        if job.start_after is not None and self._outcome(job.start_after) != JobState.DONE:
            return
        if missing := bring_results(job, files, self._storage, allowance):
            raise InputProblem(Reason.INPUT_MISSING, [f"Missing: {name}" for name in missing])
        if faulty := refusals(_inspected(files, folder, allowance)):
            raise InputProblem(Reason.INPUT_FAULTY, faulty)
        self._conversions.record_needs(job.id, files, folder, pinned)
        self._preparation.prepare(job, folder, form)
        transition(Job, job.id, JobState.UPLOADING, JobState.QUEUED, Change(self._clock()), {"message": "", "not_before": 0.0})

    def _record_notes(self, job: Job, pinned: Pinned) -> None:
        """Record what the submitter should know, once; also where a controller was killed in between."""
        for text in pinned.notes:
            if not Event.select().where(Event.subject == "job", Event.subject_id == job.id, Event.text == text).exists():
                record_event(Job, job.id, Change(self._clock(), text=text))

    def _try_later(self, job: Job, problem: Exception, patience_s: float) -> None:
        """Inspect the job again after a while; give it up where it keeps failing."""
        now = self._clock()
        lasting_s = self._failures.record(job.id, now)
        is_full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
        words = "the storage is full" if is_full else describe(problem)
        if not lasting_s:
            log.warning("a job's files cannot be pinned", job_id=job.id, detail=words, exc_info=None if is_full else problem)
        if lasting_s > patience_s:
            self._failures.clear(job.id)
            return self._completion.fail(job, Reason.CONTROLLER_DISK_FULL if is_full else reason_of(problem), words, now)
        later = {"not_before": now + self._settings.retry_delay_s, "message": f"Waiting: its files cannot be pinned, {words}."}
        Job.update(later).where(Job.id == job.id, Job.state == JobState.UPLOADING).execute()

    def _outcome(self, job_id: int) -> str:
        """How a job ended, "" while it has not; one without a row did not succeed."""
        row = Job.select(Job.outcome).where(Job.id == job_id).first()
        return JobState.FAILED if row is None else str(row.outcome)


def _inspected(files: Sequence[InputFile], folder: JobFolder, allowance: Allowance) -> Iterator[tuple[InputFile, Path]]:
    for file in files:
        allowance.spend(INSPECTION_COST)
        yield file, folder.input / file.name
