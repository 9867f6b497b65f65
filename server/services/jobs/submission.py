"""What a client sends to start a job, checked field by field before anything is stored."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.catalog.apps import Catalog
from server.catalog.controls.control import FormError, quoted
from server.catalog.files import FileList
from server.catalog.flavors import Flavor, Flavors
from server.catalog.forms import completed
from server.catalog.model import App
from server.catalog.settings_text import parse_settings
from server.catalog.values import InputFile, answers, input_files
from server.db.models import Job
from server.db.queries import known_job
from server.engine.installed_apps import InstalledApps
from server.engine.workflows import require_steps
from server.errors import InvalidInput
from server.services.principal import OWNER_NAME
from server.states import JobState
from server.storage.conversions import conversion

MAX_DESCRIPTION = 10_000
MAX_WORKFLOW_NAME = 200
# The client puts the names of files that are on their way into its page as they are; a < before anything else is a < there, too.
MARKUP = re.compile(r"<[A-Za-z/!?]")


@dataclass(frozen=True)
class Submission:
    """What a client asks for, as text from outside; checked by :meth:`SubmissionCheck.checked`.

    ``complete``: no file of it is sent, all that it reads is in the storage.
    """

    app: str
    flavor: str
    settings: str
    description: str = ""
    start_after: str = ""
    workflow: str = ""
    complete: bool = False


@dataclass(frozen=True)
class Checked:
    """A submission that can be stored. ``before``: the job that it starts after."""

    owner: str
    app: App
    flavor: Flavor
    form: dict[str, Any]
    inputs: list[InputFile]
    description: str
    workflow: str
    before: Job | None


class SubmissionCheck:
    """What this installation takes. ``has_program``: whether the machines have a converter."""

    def __init__(self, catalog: Catalog, flavors: Flavors, installed: InstalledApps, has_program: Callable[[str], bool]) -> None:
        self._catalog = catalog
        self._flavors = flavors
        self._installed = installed
        self._has_program = has_program

    def checked(self, owner: str, request: Submission) -> Checked:
        """The submission in typed parts. Raises InvalidInput, NotFound."""
        owner = require_owner(owner)
        description = require_description(request.description)
        flavor = self._flavor(request.flavor)
        before = self._predecessor(request.start_after, owner)
        app = self._app(request.app)
        form = completed(app, parse_settings(request.settings))
        inputs = self._inputs(app, form, before)
        return Checked(owner, app, flavor, form, inputs, description, require_workflow(request.workflow), before)

    def not_installed(self) -> frozenset[str]:
        """The apps that the machines lack, and the workflows with a step of one.

        They were not tried on the snapshot, or somebody has to agree to a licence first.
        """
        missing = self._installed.missing()
        steps = {found.id: {step.app for step in found.steps} for found in self._catalog.workflows().values()}
        return frozenset(missing) | {workflow for workflow, apps in steps.items() if apps & missing.keys()}

    def _flavor(self, name: str) -> Flavor:
        flavor = self._flavors.get(name)
        if flavor is None:
            raise InvalidInput(f"there is no machine size {name[:80]!r}", field="flavor")
        if flavor.weight > self._flavors.max_weight:
            text = f"the machine size {name} weighs {flavor.weight}, more than the {self._flavors.max_weight} allowed in all"
            raise InvalidInput(text, field="flavor")
        return flavor

    def _app(self, app_id: str) -> App:
        """An app that the machines have. Raises NotFound, InvalidInput."""
        app = self._catalog.get(app_id)
        self._installed.require(app)
        return app

    def _inputs(self, app: App, form: Mapping[str, Any], before: Job | None) -> list[InputFile]:
        """The input files of a complete form, each of them possible. Raises InvalidInput."""
        refuse_markup_in_paths(app, form)
        files = input_files(app, form)
        require_steps(files, before)
        for file in files:
            if file.convert:
                self._require_converter(file)
        return files

    def _require_converter(self, file: InputFile) -> None:
        how = conversion(file.name)
        if how is None:
            raise FormError(f"{file.name} is of a kind that cannot be converted to mzML", field=file.parameter)
        if not self._has_program(how.program):
            text = f"{file.name} cannot be converted to mzML: the machines have no {how.program}; ask who runs this installation"
            raise FormError(text, field=file.parameter)

    def _predecessor(self, text: str, owner: str) -> Job | None:
        number = parse_number(text, "start_after")
        if number is None:
            return None
        before = known_job(number)
        if before is None or before.owner != owner:
            raise InvalidInput(f"{owner} has no job {number} to start after", field="start_after")
        if before.outcome in (JobState.FAILED, JobState.CANCELLED):
            raise InvalidInput(f"job {number} is {before.outcome}, nothing can start after it", field="start_after")
        return before


def require_owner(owner: str) -> str:
    """A login name as operating systems give them. Raises InvalidInput."""
    if not OWNER_NAME.fullmatch(owner):
        raise InvalidInput("the user's name is missing or has characters other than letters, digits and @ + . _ -", field="owner")
    return owner


def require_description(text: str) -> str:
    """A person's remark about the job. Raises InvalidInput."""
    if len(text) > MAX_DESCRIPTION:
        raise InvalidInput(f"the description is longer than {MAX_DESCRIPTION} characters", field="description")
    return text.replace("\0", "")


def require_workflow(name: str) -> str:
    """What a client calls the workflow that a job is a step of; "" for none. Raises InvalidInput."""
    if len(name) > MAX_WORKFLOW_NAME or any(not char.isprintable() or char in "<>&" for char in name):
        raise InvalidInput(
            f"the workflow's name is longer than {MAX_WORKFLOW_NAME} characters, or has < > & or control characters",
            field="workflow",
        )
    return name


def refuse_markup_in_paths(app: App, settings: Mapping[str, Any]) -> None:
    """Raises InvalidInput for a file whose path a client would take for markup where it shows it."""
    for answer in answers(app, settings):
        if isinstance(answer.control, FileList):
            given = settings[answer.control.name]
            for path in [given] if isinstance(given, str) else given:
                if MARKUP.search(path):
                    answer.control.refuse(f"has {quoted(path)}, which a client would take for markup")


def parse_number(text: str, field: str) -> int | None:
    """A job's number, None for "". Raises InvalidInput."""
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise InvalidInput(f"{text[:40]!r} is not a job's number", field=field)
    return int(text)
