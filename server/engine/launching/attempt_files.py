"""What an attempt needs in its job's folder before its app starts: the run plan, and a record of what will run on what."""

import errno
from dataclasses import replace

from server.catalog.apps import Catalog
from server.catalog.flavors import Flavor
from server.db.models import Job, Worker
from server.engine.failures import describe
from server.engine.installed_apps import InstalledApps
from server.engine.launching.run_plan import RunPlanner
from server.engine.records.manifests import Manifests
from server.engine.records.recording import Learned
from server.errors import InfrastructureError
from server.settings import Settings
from server.states import WorkerState
from server.storage.folders import FolderGone, JobFolder, Storage
from server.workers.clouds.base import Layout
from server.workers.fleet import Fleet


class BadFolder(Exception):
    """A job's own folder is at fault; ``problem`` says how."""

    def __init__(self, problem: FolderGone | OSError) -> None:
        super().__init__(str(problem))
        self.problem = problem


class AttemptFiles:
    """Writes the files of one installation's attempts."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        storage: Storage,
        fleet: Fleet,
        planner: RunPlanner,
        installed: InstalledApps,
        manifests: Manifests,
    ) -> None:
        self._cloud = str(settings.cloud)
        self._catalog = catalog
        self._storage = storage
        self._fleet = fleet
        self._planner = planner
        self._installed = installed
        self._manifests = manifests

    def write_plan(self, job: Job, worker: Worker, flavor: Flavor, layout: Layout, folder: JobFolder) -> Learned | None:
        """Leave the run plan of an attempt whose runner has not begun; None where it has.

        Raises BadFolder where this folder alone is at fault, InfrastructureError where the storage is; CloudError where the
        machine lacks the app; InvalidInput, NotFound, InputProblem as :meth:`RunPlanner.write`.
        """
        try:
            folder.require()
            if folder.has_started(job.attempt):
                return None
            made_of = self._fleet.snapshot_of(worker.name) if worker.state == WorkerState.READY else ""
            self._installed.require_version(self._catalog.get(job.app), made_of)
            folder.require_own_files()
            folder.forget_unreadable_result()
            learned = self._planner.write(job, worker.name, flavor, layout, folder)
            self._fleet.admit(folder.path)
        except (FolderGone, OSError) as problem:
            full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or not self._storage.is_there():
                raise InfrastructureError(f"the run plan cannot be written: {describe(problem)}") from problem
            raise BadFolder(problem) from problem
        return learned

    def record(self, job: Job, worker: Worker, learned: Learned) -> None:
        """Record what runs on what, before the app starts. The machine was made of the snapshot that its variables name.

        Raises CloudError where another snapshot was promoted meanwhile that lacks the app.
        """
        snapshot = self._fleet.snapshot_of(worker.name)
        program = self._installed.require_version(learned.app, snapshot)
        self._manifests.write(job.id, replace(learned, cloud=self._cloud, snapshot=snapshot, program=program))
