"""A batch before it is stored: each of its jobs is checked like a single one, and its files are looked for in the storage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cumulus_client.batches import NewBatch, PlannedFile, PlannedJob
from server.catalog.apps import Catalog
from server.catalog.controls.control import quoted
from server.catalog.files import InputFile, one_form
from server.errors import CumulusError, InvalidInput
from server.services.batches.faults import Fault, FaultyBatch
from server.services.batches.requests import Asked, asked_for
from server.services.jobs.submission import Checked, Submission, SubmissionCheck, require_description
from server.storage.data import find


@dataclass(frozen=True)
class Planned:
    """A job that can be stored once its files are known to be or to come."""

    asked: Asked
    checked: Checked

    def sent(self, names: frozenset[str]) -> list[InputFile]:
        """Those of its files that a client sends; ``names``: of all that it sends, in one Unicode form."""
        return [file for file in self.checked.inputs if one_form(file.name) in names]


class Planner:
    """What this installation takes. ``data``: the folder of shared files."""

    def __init__(self, catalog: Catalog, check: SubmissionCheck, default_flavor: str, data: Path) -> None:
        self._catalog = catalog
        self._check = check
        self._default_flavor = default_flavor
        self._data = data

    def planned(self, owner: str, batch: NewBatch, form: Mapping[str, Any]) -> list[Planned]:
        """The jobs of a batch, each of them checked. ``form``: of all jobs. Raises FaultyBatch, InvalidInput, NotFound."""
        require_description(batch.description)
        require_plain(batch.name)
        jobs, faults = [], []
        for asked in asked_for(self._catalog.get(batch.app), batch, form):
            try:
                jobs.append(Planned(asked, self._checked(owner, batch, asked)))
            except CumulusError as error:
                if error.field in ("owner", "app") or (error.field == "flavor" and not batch.sheet):
                    raise  # of no single row
                faults.append(asked.fault(error.message, error.field))
        if faults:
            raise FaultyBatch(faults, "sheet" if batch.sheet else "files")
        return jobs

    def require_files(self, jobs: Sequence[Planned], sends: Sequence[str]) -> frozenset[str]:
        """Each file is in the storage or is sent; the names of these. Raises FaultyBatch, InvalidInput."""
        sent = frozenset(map(one_form, sends))
        used = {one_form(file.name) for job in jobs for file in job.checked.inputs}
        if strange := next((name for name in sends if one_form(name) not in used), ""):
            raise InvalidInput(f"no job of the batch uses {quoted(strange)}", field="sends")
        stored = _Stored(self._data)
        faults = [fault for job in jobs for fault in _missing(job, sent, stored)]
        if faults:
            raise FaultyBatch(faults, "sends")
        return sent

    def shown(self, jobs: Sequence[Planned], sends: Sequence[str]) -> list[PlannedJob]:
        """The jobs as whoever has not submitted them yet sees them."""
        sent, stored = frozenset(map(one_form, sends)), _Stored(self._data)
        return [
            PlannedJob(
                position=position,
                label=job.asked.label,
                place=job.asked.place,
                flavor=job.checked.flavor.name,
                files=[_shown(file, sent, stored) for file in job.checked.inputs if file.result is None],
            )
            for position, job in enumerate(jobs, 1)
        ]

    def _checked(self, owner: str, batch: NewBatch, asked: Asked) -> Checked:
        flavor = asked.flavor or self._default_flavor
        return self._check.checked(owner, Submission(batch.app, flavor, json.dumps(asked.form), batch.description))


class _Stored:
    """Which names the shared data has; each is looked up once."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._known: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        """Whether a file of that name is there, no link."""
        if name not in self._known:
            try:
                found = find(self._data, name)
                self._known[name] = found is not None and not found.is_symlink()
            except OSError:
                self._known[name] = False
        return self._known[name]


def _missing(job: Planned, sent: frozenset[str], stored: _Stored) -> list[Fault]:
    return [
        job.asked.fault(_absent(file), file.parameter)
        for file in job.checked.inputs
        if file.result is None and one_form(file.name) not in sent and not (file.shared and stored.has(file.name))
    ]


def require_plain(name: str) -> None:
    """The name of a batch, which people see in lists. Raises InvalidInput."""
    if any(not char.isprintable() or char in "<>&" for char in name):
        raise InvalidInput("the batch's name has < > & or control characters", field="name")


def _absent(file: InputFile) -> str:
    if file.shared:
        return f"{quoted(file.name)} is not in the storage, and is not among the files that will be sent"
    return f"{quoted(file.name)} is not among the files that will be sent, and is a job's own: the shared data does not count"


def _shown(file: InputFile, sent: frozenset[str], stored: _Stored) -> PlannedFile:
    return PlannedFile(
        name=file.name,
        path=file.path,
        field=file.parameter,
        is_shared=file.shared,
        is_stored=file.shared and stored.has(file.name),
        is_sent=one_form(file.name) in sent,
    )
