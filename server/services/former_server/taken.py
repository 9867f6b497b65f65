"""What becomes of one row of the former server: the job that it will be here, and what is remarkable about it. Only looks.

Nothing of the former ever runs again. What had not ended there is cancelled, with a message that says so; a job whose folder is
not to be found is archived, so that its number and what its list tells of it stay.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from server.catalog.files import MZML, base_name, one_form
from server.catalog.flavors import Flavors
from server.catalog.forms import require_names
from server.catalog.model import App
from server.catalog.settings_text import parse_settings
from server.catalog.values import check_settings, input_files
from server.errors import CumulusError, InvalidInput
from server.reasons import Reason
from server.services.former_server.database import ARCHIVED, ENDED, LARGEST_NUMBER, UNFINISHED, FormerJob
from server.services.former_server.folders import Found, find_folder, input_names
from server.services.jobs.submission import MAX_DESCRIPTION, require_workflow
from server.states import JobState
from server.storage.folders import Storage

MAX_OWNER = 128  # characters, as Windows and directories give logins
MAX_NAME = 200
MAX_INPUTS = 10_000
MAX_PATH = 4096


class Unfit(CumulusError):
    """A row that no job can be made of."""

    code = "unfit_former_job"


@dataclass(frozen=True)
class TakenJob:
    """A job as it will be. ``folder``: where it lies, or the reason why it has none; ``form``: JSON text; ``inputs``: lines.

    ``fault``: why its form does not fit its app, or is none; "" where it does, or the app is unknown.
    """

    former: FormerJob
    state: JobState
    outcome: JobState
    reason: str
    message: str
    folder: Found
    form: str
    inputs: tuple[str, ...]
    workflow: str
    start_after: int | None
    weight: int
    fault: str

    @property
    def was_unfinished(self) -> bool:
        """Whether the former server had not brought it to its end."""
        return self.former.status in UNFINISHED


@dataclass(frozen=True)
class Surroundings:
    """What rows are looked at with. ``folders``: the names below ``jobs/``, ``data``: those of the shared data, in one form.

    ``numbers``: of all rows; ``checked``: whether forms are compared with the apps.
    """

    storage: Storage
    apps: Mapping[str, App]
    flavors: Flavors
    folders: Collection[str]
    data: Collection[str]
    numbers: Collection[int]
    now: float
    checked: bool = True

    def take(self, job: FormerJob) -> TakenJob:
        """The job that a row becomes. Raises Unfit."""
        _require_fit(job)
        folder = find_folder(self.storage, job, self.folders, self.now)
        form, fault = _form(job.settings)
        app = self.apps.get(job.app)
        if app and not fault and self.checked:
            fault = _misfit(app, form)
        state, outcome = _states(job, folder)
        flavor = self.flavors.get(job.flavor)
        return TakenJob(
            former=job,
            state=state,
            outcome=outcome,
            reason=Reason.CANCELLED if job.status in UNFINISHED else "",
            message=_message(job, folder),
            folder=folder,
            form=json.dumps(form),
            inputs=tuple(self._inputs(app, form, folder)),
            workflow=_workflow(job.workflow),
            start_after=job.start_after if (job.start_after or job.id) < job.id and job.start_after in self.numbers else None,
            weight=flavor.weight if flavor else 1,
            fault=fault,
        )

    def _inputs(self, app: App | None, form: Mapping[str, Any], folder: Found) -> list[str]:
        """The names of its input: by its form, by what lies in its folder, and what the former had converted."""
        names: dict[str, None] = {}
        with suppress(CumulusError):
            names |= dict.fromkeys(file.name for file in (input_files(app, form) if app else ()))
        if not names:
            names |= dict.fromkeys(self._named(form))
        if not folder.problem:
            names |= dict.fromkeys(input_names(self.storage.folder(folder.name)))
        converted = [f"{name.rpartition('.')[0]}{MZML}" for name in names if name.rpartition(".")[2] in ("raw", "d")]
        names |= dict.fromkeys(name for name in converted if one_form(name) in self.data)
        return [name for name in names if name.isprintable()][:MAX_INPUTS]

    def _named(self, form: Mapping[str, Any]) -> Iterator[str]:
        """What a form of an app that nobody knows any more may mean as a file: a path of some computer, or a name in the data."""
        for value in form.values():
            for text in value if isinstance(value, list) else [value]:
                if not isinstance(text, str) or len(text) > MAX_PATH:
                    continue
                if one_form(text) in self.data:
                    yield text
                elif "/" in text or "\\" in text:
                    with suppress(InvalidInput):
                        yield base_name(text)


def _require_fit(job: FormerJob) -> None:
    if not 0 < job.id <= LARGEST_NUMBER:
        raise Unfit("its number is none that a job can have")
    for what, text, longest in (("owner", job.owner, MAX_OWNER), ("app", job.app, MAX_NAME), ("strategy", job.flavor, MAX_NAME)):
        if len(text) > longest or not text.isprintable() or any(mark in text for mark in "<>"):
            raise Unfit(f"its {what} {text[:60]!r} has characters that a client would take for something else, or is too long")
    if not job.owner or not job.app:
        raise Unfit("it has no owner, or no app")
    if job.status not in (*ENDED, *UNFINISHED) and not job.status.startswith(ARCHIVED):
        raise Unfit(f"its status {job.status[:60]!r} is none of the former server's")


def _form(text: str) -> tuple[dict[str, Any], str]:
    try:
        return parse_settings(text), ""
    except InvalidInput as problem:
        return {}, problem.message


def _misfit(app: App, form: dict[str, Any]) -> str:
    try:
        require_names(app, form)
        check_settings(app, form)
    except CumulusError as problem:
        return problem.message
    return ""


def _states(job: FormerJob, folder: Found) -> tuple[JobState, JobState]:
    """Where the job stands, and how it ended."""
    words = {"DONE": JobState.DONE, "FAILED": JobState.FAILED}
    outcome = words.get(job.status.removeprefix(ARCHIVED), JobState.CANCELLED)
    return (JobState.ARCHIVED if folder.problem or job.status.startswith(ARCHIVED) else outcome), outcome


def _message(job: FormerJob, folder: Found) -> str:
    if job.status in UNFINISHED:
        return f"It was {job.status} when the former Cumulus server was replaced, and is not run again by itself: submit it again"
    if folder.problem and not job.status.startswith(ARCHIVED):
        return f"Nothing of it was found when it was taken over from the former Cumulus server: {folder.problem}"
    return ""


def _workflow(name: str) -> str:
    try:
        return require_workflow(name)
    except InvalidInput:
        return ""


def description_of(job: FormerJob) -> str:
    """What a person wrote about the job, as long as it may be here."""
    return job.description[:MAX_DESCRIPTION]
