"""The failed jobs of a batch once more: with the form of today's app, and the files that they had."""

import json
from collections.abc import Sequence

from server.catalog.apps import Catalog
from server.catalog.files import InputFile
from server.catalog.settings_text import parse_settings
from server.catalog.values import input_files
from server.db.models import Job
from server.engine.records.batch_store import NewJob
from server.engine.records.recording import Learned
from server.errors import CumulusError
from server.services.batches.faults import Fault, FaultyBatch
from server.services.records.rerun import form_of_today
from server.storage.data import find
from server.storage.folders import JobFolder, Storage

_SAME = ("owner", "app", "flavor", "weight", "description", "inputs", "batch_position", "batch_label", "priority")


class Retry:
    """What is submitted in place of failed jobs."""

    def __init__(self, catalog: Catalog, storage: Storage) -> None:
        self._catalog = catalog
        self._storage = storage

    def jobs(self, failed: Sequence[Job]) -> list[NewJob]:
        """A new job for each. Raises FaultyBatch where one cannot be tried again, as when a file of it is gone."""
        new, faults = [], []
        for job in failed:
            try:
                new.append(self._again(Job.get_by_id(job.id)))
            except CumulusError as error:
                faults.append(Fault(f"job {job.id} ({job.batch_label})", "", error.message))
        if faults:
            raise FaultyBatch(faults, "batch")
        return new

    def _again(self, job: Job) -> NewJob:
        app = self._catalog.get(job.app)
        form = form_of_today(app, parse_settings(job.settings))
        files = input_files(app, form)
        folder = self._storage.folder(job.folder)
        for file in files:
            self._require(file, folder)
        fields = {name: getattr(job, name) for name in _SAME} | {"settings": json.dumps(form)}
        return NewJob(fields, Learned(app, self._catalog.checksum(app.id), files), whole=False, again=job)

    def _require(self, file: InputFile, folder: JobFolder) -> None:
        places = [folder.input, *([self._storage.data] if file.shared else [])]
        if not any(find(place, file.name) for place in places if place.is_dir()):
            raise FileGone(f"{file.name} is no longer there: submit the file as a new job")


class FileGone(CumulusError):
    """A file of a failed job is kept nowhere."""

    code = "file_gone"
