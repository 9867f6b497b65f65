"""A job from its acceptance to the queue: its files arrive and are pinned, the job before it ends, its results are brought.

Each step may be entered again after a crash. What takes long (folders of many files, copies where nothing can be linked) is done
by :meth:`Intake.prepare` on the loop's pool, while the job stays UPLOADING.
"""

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from programs.database.sqlite import is_of_the_file
from server.catalog.apps import Catalog
from server.catalog.settings_text import parse_settings
from server.catalog.values import InputFile, input_files
from server.db.models import Event, Job
from server.db.transitions import Change, record_event, transition
from server.engine.completion import Completion
from server.engine.failures import PATIENCE_S, Troubles, reason_of
from server.engine.launching.conversion_cache import ConversionCache
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
LOOK_COST = 10  # a look into a file reads its ends: some files' worth
log = structlog.get_logger()


class Intake:
    """Takes in the jobs of one controller. :meth:`receive` is quick and runs in the loop, :meth:`prepare` may take long."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        storage: Storage,
        endings: Completion,
        reuse: ConversionCache,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._storage = storage
        self._endings = endings
        self._reuse = reuse
        self._clock = clock
        self._pins = Pins(storage)
        self._troubles = Troubles()
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """The controller is going: stop copying; the next controller enters the steps again."""
        self._abandoned.set()

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by so much."""
        self._troubles.moved(seconds)

    def receive(self, job: Job, now: float) -> bool:
        """UPLOADING: queue the job once its files are there and the job before it is done; fail it where they never will be.

        True where more is to be done than the loop can: then :meth:`prepare` goes on.
        """
        folder = self._storage.folder(job.folder)
        folder.require()
        before = JobState.DONE if job.start_after is None else self._outcome(job.start_after)
        if before in (JobState.FAILED, JobState.CANCELLED):
            self._endings.fail(job, Reason.STEP_BEFORE_FAILED, f"Job {job.start_after} is {before}.", now)
        elif not folder.has_arrived():
            if now - job.state_since > self._settings.upload_timeout_s:
                self._endings.fail(job, Reason.UPLOAD_TIMEOUT, "", now)
        elif job.not_before <= now and (before == JobState.DONE or pinned_for(folder) is None):
            return self._get_ready(job, folder, Allowance(QUICK_FILES, QUICK_BYTES))
        return False

    def adopt(self) -> None:
        """Pin what jobs in the queue will read, where an earlier version has queued them without.

        What takes long, or fails now, is left to the moment before their launch.
        """
        for job in Job.select().where(Job.state == JobState.QUEUED).order_by(Job.id):
            folder = self._storage.folder(job.folder)
            try:
                if folder.path.is_dir() and pinned_for(folder) is None:
                    files = input_files(self._catalog.get(job.app), parse_settings(job.settings))
                    self._tell(job, self._pins.pin(folder, files, Allowance(QUICK_FILES, QUICK_BYTES)))
            except (TakesLong, CumulusError, OSError) as problem:
                log.info("a queued job's files are pinned later", job_id=job.id, detail=f"{type(problem).__name__}: {problem}")
            except Exception as problem:
                if is_of_the_file(problem):
                    raise
                log.exception("a queued job's files cannot be pinned", job_id=job.id)

    def prepare(self, job_id: int) -> None:
        """Pin and bring whatever it takes. Leaves a job that cannot be gone on with now for a later look."""
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
        """Go as far as the job can now; True where that takes more than is allowed. Raises OSError."""
        try:
            files = input_files(self._catalog.get(job.app), parse_settings(Job.get_by_id(job.id).settings))
            self._queue_complete(job, files, folder, allowance)
            self._troubles.over(job.id)
        except TakesLong:
            return True
        except Unwanted:
            return False
        except (NotFound, InvalidInput, InputProblem) as error:
            self._endings.fail(job, reason_for(error), error.message, self._clock())
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._try_later(job, problem, self._settings.upload_timeout_s)
        return False

    def _queue_complete(self, job: Job, files: list[InputFile], folder: JobFolder, allowance: Allowance) -> None:
        pinned = pinned_for(folder) or self._pins.pin(folder, files, allowance)
        self._tell(job, pinned)
        if job.start_after is not None and self._outcome(job.start_after) != JobState.DONE:
            return
        if missing := bring_results(job, files, self._storage, allowance):
            raise InputProblem(Reason.INPUT_MISSING, [f"Missing: {name}" for name in missing])
        if faulty := refusals(_looked_into(files, folder, allowance)):
            raise InputProblem(Reason.INPUT_FAULTY, faulty)
        self._reuse.note_needs(job.id, files, folder, pinned)
        transition(Job, job.id, JobState.UPLOADING, JobState.QUEUED, Change(self._clock()), {"message": "", "not_before": 0.0})

    def _tell(self, job: Job, pinned: Pinned) -> None:
        """What the submitter has to know, once; also where a controller died in between."""
        for text in pinned.notes:
            if not Event.select().where(Event.subject == "job", Event.subject_id == job.id, Event.text == text).exists():
                record_event(Job, job.id, Change(self._clock(), text=text))

    def _try_later(self, job: Job, problem: Exception, patience_s: float) -> None:
        """Look again after a while; give the job up where its trouble lasts."""
        now = self._clock()
        lasting = self._troubles.met(job.id, now)
        is_full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
        words = "the storage is full" if is_full else f"{type(problem).__name__}: {problem}"
        if not lasting:
            log.warning("a job's files cannot be pinned", job_id=job.id, detail=words, exc_info=None if is_full else problem)
        if lasting > patience_s:
            self._troubles.over(job.id)
            return self._endings.fail(job, Reason.CONTROLLER_DISK_FULL if is_full else reason_of(problem), words, now)
        later = {"not_before": now + self._settings.retry_delay_s, "message": f"Waiting: its files cannot be pinned, {words}."}
        Job.update(later).where(Job.id == job.id, Job.state == JobState.UPLOADING).execute()

    def _outcome(self, job_id: int) -> str:
        """How a job ended, "" while it has not; one that is gone did not succeed."""
        row = Job.select(Job.outcome).where(Job.id == job_id).first()
        return JobState.FAILED if row is None else str(row.outcome)


def _looked_into(files: list[InputFile], folder: JobFolder, allowance: Allowance) -> Iterator[tuple[InputFile, Path]]:
    for file in files:
        allowance.spend(LOOK_COST)
        yield file, folder.input / file.name


def reason_for(error: InvalidInput | NotFound | InputProblem) -> Reason:
    """Why a job ends whose form, app or files do not serve."""
    if isinstance(error, InputProblem):
        return error.reason
    return Reason.APP_GONE if isinstance(error, NotFound) else Reason.SETTINGS_UNUSABLE
