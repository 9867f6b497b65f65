"""An attempt of a job: its machine is made, or one that stands ready is used, and the app is started on it.

Safe to repeat after a crash: nothing is made or started twice. Blocks; it runs in the background. What follows from a failure is
decided in :mod:`server.engine.launching.launch_failures`.
"""

import threading
from collections.abc import Callable

import structlog
from peewee import OperationalError

from programs.database.sqlite import is_of_the_file
from server.catalog.flavors import Flavor, Flavors
from server.db.models import Change, Job, Worker, transition
from server.engine.completion import Completion
from server.engine.failures import describe, reason_of, refusal_reason
from server.engine.launching.attempt_files import AttemptFiles, BadFolder
from server.engine.launching.launch_failures import LaunchFailures
from server.engine.launching.progress import is_being_launched, record_machine, record_start
from server.engine.records.recording import Learned
from server.errors import CumulusError, InfrastructureError, InvalidInput, NotFound
from server.reasons import Reason
from server.states import WorkerState
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.pins import InputProblem
from server.workers.clouds.base import Layout
from server.workers.fleet import Address, Fleet

log = structlog.get_logger()


class Launcher:
    """Launches the jobs of one controller."""

    def __init__(
        self,
        flavors: Flavors,
        storage: Storage,
        fleet: Fleet,
        files: AttemptFiles,
        completion: Completion,
        failures: LaunchFailures,
        clock: Callable[[], float],
    ) -> None:
        self._flavors = flavors
        self._storage = storage
        self._fleet = fleet
        self._files = files
        self._completion = completion
        self._failures = failures
        self._clock = clock
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """The controller stops: wait for no more plays; the next controller enters the launches again."""
        self._abandoned.set()

    def launch(self, job_id: int, worker: Worker) -> None:
        """PROVISIONING and STARTING: make the machine, start the app on it."""
        job = Job.get_by_id(job_id)
        folder = self._storage.folder(job.folder)
        try:
            self._launch(job, worker, folder)
        except (InvalidInput, NotFound, InputProblem) as error:
            self._completion.fail(job, refusal_reason(error), error.message, self._clock())
        except CumulusError as error:
            self._failed(job_id, worker, folder, error)
        except BadFolder as bad:
            self._completion.fail(job, reason_of(bad.problem), describe(bad.problem), self._clock())
        except Exception as error:  # whatever it is: the job must not stay here for ever
            if is_of_the_file(error):  # says nothing about the launch, which is entered again
                raise
            log.exception("a launch failed unexpectedly", job_id=job_id, worker=worker.name)
            self._failed(job_id, worker, folder, InfrastructureError(describe(error)))

    def _launch(self, job: Job, worker: Worker, folder: JobFolder) -> None:
        flavor = self._flavors.get(job.flavor)
        if flavor is None:
            return self._completion.fail(
                job, Reason.FLAVOR_GONE, f"There is no machine size {job.flavor} any more", self._clock()
            )
        layout = self._fleet.layout(worker.name, folder.path)
        learned = self._files.write_plan(job, worker, flavor, layout, folder)
        self._start(job, worker, flavor, layout, folder, learned)
        record_start(job, worker, self._clock())
        self._failures.clear(worker)

    def _start(
        self, job: Job, worker: Worker, flavor: Flavor, layout: Layout, folder: JobFolder, learned: Learned | None
    ) -> None:
        """Return once the app has started, on a machine that stands ready or is made for it."""

        def on_machine(address: Address) -> None:
            if learned:
                self._files.record(job, worker, learned)
            record_machine(job, worker, address, self._clock())

        def unwanted() -> bool:
            return self._is_unwanted(job.id, worker)

        if worker.state == WorkerState.READY:
            return self._fleet.start(worker.name, layout, on_machine=on_machine, unwanted=unwanted)
        transition(Worker, worker.id, WorkerState.REQUESTED, WorkerState.CREATING, Change(self._clock()))
        self._fleet.launch(
            worker.name,
            flavor,
            layout,
            on_machine=on_machine,
            unwanted=unwanted,
            has_started=lambda: folder.has_started(worker.attempt),
        )

    def _failed(self, job_id: int, worker: Worker, folder: JobFolder, error: CumulusError) -> None:
        job = Job.get_by_id(job_id)
        if not self._abandoned.is_set() and is_being_launched(job, worker):
            self._failures.handle(job, worker, folder, error)

    def _is_unwanted(self, job_id: int, worker: Worker) -> bool:
        """Whether the launch is no longer wanted; while the database is busy, it continues."""
        try:
            return self._abandoned.is_set() or not is_being_launched(Job.get_by_id(job_id), worker)
        except OperationalError:
            return False
