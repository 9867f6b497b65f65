"""What runs were made of: the record of a job, two compared, and what a job would be made of if it ran once more."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.catalog.apps import Catalog
from server.catalog.flavors import read_flavors
from server.catalog.model import App
from server.db.models import known_job
from server.engine.installed_apps import InstalledApps
from server.engine.records.record import JobRecord, RecordedApp, RecordedController, RecordedFlavor, RecordedResult
from server.engine.records.recording import assembled
from server.errors import CumulusError, InvalidInput, NotFound
from server.progress import MB, Progress
from server.services.jobs.lookup import find_job
from server.services.principal import Principal, Role
from server.services.records.comparison import Difference, Results, compare_results, differences
from server.services.records.rerun import Rerun, again
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.checksums import content_sha256
from server.storage.paths import inside
from server.workers.clouds.base import Cloud


@dataclass(frozen=True)
class Comparison:
    """Two jobs beside each other."""

    differences: tuple[Difference, ...]
    results: Results

    @property
    def is_same(self) -> bool:
        """Whether the results are the same."""
        return self.results.verdict == "same"


class RecordService:
    """The records of one installation's jobs, whose database is open."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._storage = Storage(settings.storage)
        self._catalog = Catalog(settings.apps)

    def record(self, principal: Principal, job_id: int) -> JobRecord:
        """What a run was made of. Raises Forbidden, NotFound."""
        principal.require(Role.USER)
        job = find_job(job_id)
        return assembled(job, self._storage.folder(job.folder))

    def compared(self, before: JobRecord, now: JobRecord, progress: Progress) -> Comparison:
        """What differs between two records; where a result's checksum was not recorded, that of the file that is there."""
        results = compare_results(*(self._with_checksums(one, progress) for one in (before, now)))
        return Comparison(tuple(differences(before, now)), results)

    def app_of(self, before: JobRecord) -> App:
        """The app of a job as it is offered today. Raises NotFound."""
        try:
            return self._catalog.get(before.app.id)
        except NotFound:
            text = f"job {before.id} has run the app {before.app.id}, which is no longer offered"
            raise NotFound(text, field="app") from None

    def again(self, principal: Principal, app: App, before: JobRecord, progress: Progress) -> Rerun:
        """The same job for today. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.USER)
        folder = self._storage.folder(find_job(before.id).folder)
        with progress.step(f"Reading the files of job {before.id}", "MB") as step:
            read = 0.0

            def heard(size: int) -> None:
                nonlocal read
                read += size / MB
                step.advance(read)

            return again(app, before, folder, self._storage.data, self._folder_of, lambda path: content_sha256(path, heard))

    def as_of_today(self, before: JobRecord, made: Rerun, flavor: str, cloud: Cloud, controller_version: str) -> JobRecord:
        """What the record of the new job will say, as far as that is known before it runs. Raises NotFound, CloudError."""
        app, size = self.app_of(before), self.flavor(flavor)
        program = InstalledApps(self._catalog, cloud).version(app) or ""
        try:
            snapshot = cloud.images.current()
        except CumulusError:
            snapshot = ""
        update = {
            "app": RecordedApp(id=app.id, name=app.name, version=app.version, sha256=self._catalog.checksum(app.id)),
            "program": program,
            "snapshot": snapshot,
            "cloud": str(self._settings.cloud),
            "flavor": size if before.flavor.cpus else RecordedFlavor(name=size.name),
            "settings": made.settings,
            "controller": RecordedController(version=controller_version),
        }
        return before.model_copy(update=update)

    def flavor(self, name: str) -> RecordedFlavor:
        """A machine size of today. Raises InvalidInput."""
        found = read_flavors(self._settings.flavors).get(name)
        if found is None:
            raise InvalidInput(f"the machine size {name} is no longer offered: choose another with --flavor", field="flavor")
        return RecordedFlavor(name=name, cpus=found.cpus, memory_gb=found.memory_gb)

    def _folder_of(self, number: int) -> JobFolder | None:
        row = known_job(number)
        return None if row is None else self._storage.folder(row.folder)

    def _with_checksums(self, found: JobRecord, progress: Progress) -> Sequence[RecordedResult]:
        if all(one.sha256 for one in found.results):
            return found.results
        output = self._storage.folder(find_job(found.id).folder).output
        with progress.step(f"Reading the results of job {found.id}", "files") as step:
            read = []
            for number, one in enumerate(found.results, 1):
                read.append(one if one.sha256 else one.model_copy(update={"sha256": _checksum(output, one.path)}))
                step.advance(number, len(found.results))
        return read


def comparison_json(found: Comparison) -> dict[str, Any]:
    """A comparison for programs."""
    results = {**asdict(found.results), "verdict": found.results.verdict}
    return {"differences": [asdict(one) for one in found.differences], "results": results}


def _checksum(output: Path, path: str) -> str:
    try:
        return content_sha256(inside(output, path))
    except (OSError, CumulusError):  # it is no longer kept
        return ""
