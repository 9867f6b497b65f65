"""What runs were made of: the record of a job, two compared, and what a job would be made of if it ran once more."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cumulus_client.records import ComparedResults, Comparison, RerunFile, RerunPlace
from cumulus_client.records import Difference as DifferenceView
from cumulus_client.records import RerunPlan as RerunView
from server.catalog.apps import Catalog
from server.catalog.flavors import read_flavors
from server.catalog.forms import labelled
from server.catalog.model import App
from server.db.queries import known_job
from server.engine.installed_apps import InstalledApps
from server.engine.records.record import JobRecord, RecordedApp, RecordedController, RecordedFlavor, RecordedResult, to_text
from server.engine.records.recording import assembled, controller_version
from server.errors import CumulusError, InvalidInput, NotFound
from server.services.jobs.lookup import find_job
from server.services.jobs.views import readable
from server.services.jobs.visibility import visible_job
from server.services.principal import Principal
from server.services.records.comparison import Difference, Results, compare_results, differences
from server.services.records.rerun import RerunPlan, Wanted, plan
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.checksums import content_sha256
from server.storage.paths import inside
from server.workers.clouds.base import Cloud


class RecordService:
    """The records of one installation's jobs, whose database is open."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._storage = Storage(settings.storage)
        self._catalog = Catalog(settings.apps)

    def record(self, principal: Principal, job_id: int) -> JobRecord:
        """What a run was made of. Raises Forbidden, NotFound."""
        job = visible_job(principal, job_id)
        return assembled(job, self._storage.folder(job.folder))

    def compared(self, principal: Principal, job_id: int, other: int) -> Comparison:
        """What differs in a job from another one; where a result's checksum was not recorded, that of the file that is there.

        Raises Forbidden, NotFound.
        """
        before, now = self.record(principal, other), self.record(principal, job_id)
        results = compare_results(*(self._with_checksums(one) for one in (before, now)))
        return Comparison(
            differences=_views(differences(before, now)),
            results=ComparedResults(**_lists(results), verdict=results.verdict),
            summary=str(results),
        )

    def app_of(self, before: JobRecord) -> App:
        """The app of a job as it is offered today. Raises NotFound."""
        try:
            return self._catalog.get(before.app.id)
        except NotFound:
            text = f"job {before.id} has run the app {before.app.id}, which is no longer offered"
            raise NotFound(text, field="app") from None

    def plan(self, principal: Principal, job_id: int, flavor: str, cloud: Callable[[], Cloud]) -> RerunView:
        """A job once more, for today. ``flavor``: "" for the job's. ``cloud``: is asked what runs there now.

        Raises Forbidden, NotFound, InvalidInput, CloudError.
        """
        before = self.record(principal, job_id)
        app, size = self.app_of(before), self._flavor(flavor or before.flavor.name)
        made = self.planned(app, before)
        return RerunView(
            app=app.id,
            flavor=size.name,
            owner=before.owner,
            description=before.description,
            settings=made.settings,
            files=list(map(_file_view, made.files)),
            remarks=list(made.remarks),
            differences=_views(differences(before, self._as_of_today(before, app, made, size, cloud()))),
        )

    def planned(self, app: App, before: JobRecord) -> RerunPlan:
        """What is submitted, with the places where its files may be. Raises NotFound, InvalidInput by the fields' labels."""
        folder = self._storage.folder(find_job(before.id).folder)
        try:
            return plan(app, before, folder, self._storage.data, self._folder_of)
        except InvalidInput as error:
            raise labelled(app, error, with_field=True) from None

    def _as_of_today(self, before: JobRecord, app: App, made: RerunPlan, size: RecordedFlavor, cloud: Cloud) -> JobRecord:
        """What the record of the new job will say, as far as that is known before it runs. Raises CloudError."""
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
            "controller": RecordedController(version=controller_version()),
        }
        return before.model_copy(update=update)

    def _flavor(self, name: str) -> RecordedFlavor:
        """A machine size of today. Raises InvalidInput."""
        found = read_flavors(self._settings.flavors).get(name)
        if found is None:
            raise InvalidInput(f"the machine size {name} is no longer offered: choose another with --flavor", field="flavor")
        return RecordedFlavor(name=name, cpus=found.cpus, memory_gb=found.memory_gb)

    def _folder_of(self, number: int) -> JobFolder | None:
        row = known_job(number)
        return None if row is None else self._storage.folder(row.folder)

    def _with_checksums(self, found: JobRecord) -> Sequence[RecordedResult]:
        if all(one.sha256 for one in found.results):
            return found.results
        output = self._storage.folder(find_job(found.id).folder).output
        return [one if one.sha256 else one.model_copy(update={"sha256": _checksum(output, one.path)}) for one in found.results]


def record_json(found: JobRecord) -> dict[str, Any]:
    """A record for programs: as its file has it."""
    read: dict[str, Any] = json.loads(to_text(found))
    return read


def _views(found: Iterable[Difference]) -> list[DifferenceView]:
    return [DifferenceView(what=one.what, before=one.before, now=one.now) for one in found]


def _lists(results: Results) -> dict[str, list[str]]:
    return {name: list(map(readable, names)) for name, names in asdict(results).items()}


def _file_view(file: Wanted) -> RerunFile:
    places = [RerunPlace(path=str(one.path), is_own=one.is_own) for one in file.places]
    return RerunFile.model_validate({**asdict(file), "places": places})


def _checksum(output: Path, path: str) -> str:
    try:
        return content_sha256(inside(output, path))
    except (OSError, CumulusError):  # it is no longer kept
        return ""
