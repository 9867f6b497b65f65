"""A launch, prepared when the job is queued: command line, config files and input files, rendered once for all attempts.

Owns ``.cumulus.prepared`` in the job's folder. Which XML a job runs with is decided by each attempt, not by its submission: it is
the app's file as it is when the attempt is launched. So what was prepared names the checksum of the XML, of the settings, the
machine's variables (paths, threads) that it was rendered for, and the version of Cumulus that rendered it. An attempt that has
others renders again, and the log says why; so does an attempt of a job that was queued by a version which prepared nothing.

A job's folder can be written by the machine that served an earlier attempt. So the file is signed with a key that only the
database has, and one whose signature does not fit is not used.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from programs.version import VERSION
from server.catalog.apps import AppFile
from server.catalog.flavors import Flavor, Flavors
from server.catalog.rendering.command import CONFIG_NAME, Rendered, Variables, render, render_each
from server.catalog.settings_text import parse_settings
from server.catalog.values import InputFile, input_files
from server.db.models import Job, worker_name
from server.db.settings_store import read_setting, write_setting
from server.db.transactions import exclusive
from server.db.transitions import Change
from server.engine.failures import describe
from server.engine.records.manifest_format import SIGNING_KEY
from server.errors import CumulusError
from server.storage.folders import JobFolder
from server.workers.clouds.base import Layout

NAME = "prepared"
EARLIER = "it was queued by an earlier version, or what was prepared cannot be read"
log = structlog.get_logger()


@dataclass(frozen=True)
class Source:
    """What a launch was rendered from: checksums (SHA-256) of the app's XML and of the settings, and the machine's variables.

    ``version``: of the Cumulus that rendered it.
    """

    folder: str
    app: str
    app_sha256: str
    settings_sha256: str
    variables: Variables
    version: str


@dataclass(frozen=True)
class Prepared:
    """A rendered launch. ``rendered``: one for each run; ``summary_command``: shell text, "" for none."""

    source: Source
    files: tuple[InputFile, ...]
    rendered: tuple[Rendered, ...]
    summary_command: str
    version: Literal[1] = 1  # of the format


@dataclass(frozen=True)
class Form:
    """A job's settings, parsed, and the input files that they name for its app as it was in that file."""

    file: AppFile
    settings: Mapping[str, object]
    inputs: tuple[InputFile, ...]

    @classmethod
    def of(cls, job: Job, file: AppFile) -> "Form":
        """The form of a job with its settings. Raises InvalidInput."""
        settings = parse_settings(job.settings)
        return cls(file, settings, tuple(input_files(file.app, settings)))


_PREPARED = TypeAdapter(Prepared)


class Preparation:
    """Prepares the launches of one installation. ``layout``: where a job's things are on a worker of that name."""

    def __init__(self, flavors: Flavors, layout: Callable[[str, Path], Layout], clock: Callable[[], float]) -> None:
        self._flavors = flavors
        self._layout = layout
        self._clock = clock
        self._known_key = b""

    def prepare(self, job: Job, folder: JobFolder, form: Form) -> None:
        """Prepare a job that is about to be queued for its next attempt; may be repeated. What fails is left to the launch.

        Where the app's file has changed since the form was parsed, the launch finds that out.
        """
        flavor = self._flavors.get(job.flavor)
        if flavor is None:
            return
        try:
            variables = variables_for(flavor, self._layout(worker_name(job.id, job.attempt + 1), folder.path))
            self._keep(_render(_source(job, folder, form.file, variables), form), folder)
        except (CumulusError, OSError) as problem:
            log.info("a job is prepared at its launch", job_id=job.id, detail=describe(problem))

    def prepared(self, job: Job, folder: JobFolder, flavor: Flavor, layout: Layout, file: AppFile) -> Prepared:
        """What was prepared for the job, if it fits this attempt; else rendered now, and kept for the next attempt.

        ``file``: the app's, for this attempt. Raises InvalidInput where the settings cannot be used any more.
        """
        wanted = _source(job, folder, file, variables_for(flavor, layout))
        found = self._read(folder)
        if found is not None and found.source == wanted:
            return found
        log.info("a launch is prepared again", job_id=job.id, why=_difference(found.source, wanted) if found else EARLIER)
        made = _render(wanted, Form.of(job, file))
        try:
            self._keep(made, folder)
        except OSError as problem:
            log.info("a launch is prepared for this attempt alone", job_id=job.id, detail=describe(problem))
        return made

    def _keep(self, prepared: Prepared, folder: JobFolder) -> None:
        """Raises OSError."""
        # Half of a character, as settings may have, cannot be written: such a job is prepared at its launch.
        with suppress(PydanticSerializationError):
            text = _PREPARED.dump_json(prepared).decode()
            folder.private.keep(NAME, f"{self._signature(text)}\n{text}\n")

    def _read(self, folder: JobFolder) -> Prepared | None:
        """None where nothing was prepared, or in another format, or with another signature."""
        try:
            signature, _, text = folder.private.text(NAME).partition("\n")
            text = text.removesuffix("\n")
            if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
                return None
            return _PREPARED.validate_json(text)
        except (OSError, ValueError):
            return None

    def require_key(self) -> None:
        """Have a key, before any job needs it."""
        self._key()

    def _signature(self, text: str) -> str:
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        """The database's own; made where it has none."""
        if not self._known_key:
            with exclusive():
                if not (key := read_setting(SIGNING_KEY)):
                    write_setting(SIGNING_KEY, key := secrets.token_hex(32), Change(self._clock()))
            self._known_key = key.encode()
        return self._known_key


def variables_for(flavor: Flavor, layout: Layout) -> Variables:
    """What the ``%…%`` variables of an app stand for on a machine of this flavor; one CPU is left to the system."""
    return Variables(
        threads=max(1, flavor.cpus - 1),
        input_dir=f"{layout.work_dir}/input",
        output_dir=f"{layout.work_dir}/output",
        config_file=f"{layout.job_dir}/{CONFIG_NAME}",
    )


def _source(job: Job, folder: JobFolder, file: AppFile, variables: Variables) -> Source:
    settings = hashlib.sha256(job.settings.encode(errors="surrogatepass")).hexdigest()
    return Source(folder.name, job.app, file.sha256, settings, variables, VERSION)


def _render(source: Source, form: Form) -> Prepared:
    app, variables = form.file.app, source.variables
    rendered = render_each(app, form.settings, variables) or [render(app, form.settings, variables)]
    return Prepared(source, form.inputs, tuple(rendered), app.findings.summary_command.fill(variables.texts))


def _difference(found: Source, wanted: Source) -> str:
    """Why what was prepared does not fit."""
    if found.version != wanted.version:
        return f"Cumulus {found.version} has prepared it"
    if found.app_sha256 != wanted.app_sha256:
        return "the app's XML has changed"
    if found.variables != wanted.variables:
        return "the machine has other paths, or another number of processors"
    return "it was prepared for other settings"
