"""Apps: which there are, what their forms ask for, what command an app makes of a form; the beginning of a new one."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from cumulus_client.apps import App as AppView
from cumulus_client.apps import AppDetails, Form, FormField, Preview, PreviewFile, PreviewRun
from cumulus_client.workflows import Workflow
from programs.errors import explained
from server.catalog.apps import Catalog, CatalogProblem
from server.catalog.descriptions import accepted_files, describe
from server.catalog.flavors import read_flavors
from server.catalog.form_schema import json_schema
from server.catalog.forms import completed, filled, labelled
from server.catalog.model import App
from server.catalog.model import Workflow as CatalogWorkflow
from server.catalog.rendering.command import CONFIG_NAME, Rendered, Variables, render, render_each
from server.catalog.values import input_files
from server.engine.installed_apps import InstalledApps
from server.errors import InvalidInput, NotFound
from server.services.principal import Principal, Role
from server.settings import Settings, where_given
from server.workers.clouds.base import Cloud

APP_ID = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{0,97})_([A-Za-z0-9.+-]+)")
MAX_ID = 100
WORK_DIR = "/var/lib/cumulus/job"
SCAFFOLD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- What each element and attribute means: docs/apps.md. Check this file: cumulus apps check -->
<tool id={id} name={name} version={version} category="New" description="What it does, in one sentence"
      command={command} end_tag="" version_command={version_command}>
  <section name="input" title="Input" expanded="true">
    <filelist name="spectra" label="Spectra" help="What is searched" multiple="true" is_folder="false" is_raw_input="true"
              required="true" format="mzML;mzML.gz;raw" convert_to_mzml="true" repeated_command="'%value%'"/>
  </section>
  <section name="options" title="Options" expanded="true">
    <number name="limit" label="Limit" help="What it limits, and its unit" value="10" min="0" max="100"
            command="--limit '%value%'"/>
    <select name="mode" label="Mode">
      <option value="fast" selected="true" command="--fast">Fast</option>
      <option value="exact">Exact</option>
    </select>
    <checkbox name="verbose" label="Say more" value="false" command="--verbose"/>
  </section>
</tool>
"""


@dataclass(frozen=True)
class CheckView:
    """What a folder of apps is worth: the ids that can be used, and what is the matter with others."""

    usable: tuple[str, ...]
    problems: tuple[CatalogProblem, ...]
    warnings: tuple[CatalogProblem, ...]


class AppService:
    """The apps of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = Catalog(settings.apps)

    def missing(self, cloud: Cloud) -> Mapping[str, str]:
        """The apps that the machines lack, by id, and why. Raises CloudError."""
        return InstalledApps(self._catalog, cloud).missing(tries=True)

    def listed(self, principal: Principal, missing: Mapping[str, str]) -> list[AppView]:
        """All apps. Raises Forbidden, NotFound where there is no folder of apps."""
        principal.require(Role.USER)
        self.require_folder()
        return [_view(app, missing) for app in self._catalog.apps().values()]

    def require_folder(self) -> None:
        """Raises NotFound where there is no folder of apps."""
        folder = self._settings.apps
        if not folder.is_dir():
            raise NotFound(f"there is no folder of apps {folder} ({where_given('apps')})", field="setting apps")

    def get(self, principal: Principal, app_id: str) -> App:
        """An app with its form. Raises Forbidden, NotFound."""
        principal.require(Role.USER)
        return self._catalog.get(app_id)

    def details(self, principal: Principal, app_id: str, missing: Mapping[str, str]) -> AppDetails:
        """An app with its fields. Raises Forbidden, NotFound."""
        app = self.get(principal, app_id)
        fields = [FormField.model_validate(asdict(field)) for field in describe(app)]
        return AppDetails(**_view(app, missing).model_dump(), fields=fields)

    def form(self, principal: Principal, app_id: str) -> Form:
        """An app's form for programs. Raises Forbidden, NotFound."""
        app = self.get(principal, app_id)
        return Form(json_schema=json_schema(app, describe(app)), defaults=filled(app, {}), xml=self._catalog.texts()[app_id])

    def preview(self, principal: Principal, app_id: str, given: dict[str, Any], cpus: int | None) -> Preview:
        """The command and the config file that an app makes of a form's settings, defaults filled in.

        ``cpus``: of the machine, None: the default flavor's. Raises Forbidden, NotFound, InvalidInput by the field's label.
        """
        app = self.get(principal, app_id)
        folders = {"input_dir": f"{WORK_DIR}/input", "output_dir": f"{WORK_DIR}/output"}
        threads = max(1, (cpus or self._default_cpus()) - 1)
        variables = Variables(threads=threads, config_file=f"{WORK_DIR}/{CONFIG_NAME}", **folders)
        try:
            values = completed(app, given)
            runs = render_each(app, values, variables) or [render(app, values, variables)]
        except InvalidInput as error:
            raise labelled(app, error, with_field=True) from None
        return Preview(
            runs=[_run_view(number, one) for number, one in enumerate(runs, 1)],
            files=[
                PreviewFile(name=one.name, shared=one.shared, target=one.target if one.convert else "")
                for one in input_files(app, values)
            ],
        )

    def workflows(self, principal: Principal) -> list[Workflow]:
        """All workflows. Raises Forbidden."""
        principal.require(Role.USER)
        texts = self._catalog.texts()
        return [_workflow_view(found, texts[found.id]) for found in self._catalog.workflows().values()]

    def workflow(self, principal: Principal, workflow_id: str) -> Workflow:
        """One of them. Raises Forbidden, NotFound."""
        known = {one.id: one for one in self.workflows(principal)}
        if workflow_id not in known:
            text = f"there is no workflow {workflow_id[:100]!r}; there are {', '.join(known) or 'none'}"
            raise NotFound(text, field="workflow")
        return known[workflow_id]

    def begin(self, principal: Principal, app_id: str, program: str | None) -> Path:
        """Begin an app: write its XML into the installation's folder of apps; an existing file is left alone.

        Raises Forbidden, InvalidInput.
        """
        principal.require(Role.ADMINISTRATOR)
        text = _scaffold(app_id, program)
        path = self._settings.apps / f"{app_id}.xml"
        if app_id in self._catalog.apps():
            raise InvalidInput(f"there is an app {app_id} already", field="NAME_VERSION")
        try:
            with path.open("x") as file:
                file.write(text)
        except FileExistsError:
            raise InvalidInput(f"{path} is there already", field="NAME_VERSION") from None
        except OSError as error:
            raise InvalidInput(f"the app cannot be written: {explained(error)}", field="NAME_VERSION") from None
        return path

    def _default_cpus(self) -> int:
        name = self._settings.default_flavor
        flavor = read_flavors(self._settings.flavors).get(name)
        if flavor is None:
            raise NotFound(f"there is no machine size {name}: give --cpus", field="setting default_flavor")
        return flavor.cpus


def checked(folder: Path) -> CheckView:
    """Check every file of a folder of apps."""
    catalog = Catalog(folder)
    usable = sorted([*catalog.apps(), *catalog.workflows()])
    return CheckView(tuple(usable), tuple(catalog.problems()), tuple(catalog.warnings()))


def check_json(found: CheckView) -> dict[str, Any]:
    """A folder of apps for programs."""
    return {
        "usable": list(found.usable),
        "problems": list(map(_problem_json, found.problems)),
        "warnings": list(map(_problem_json, found.warnings)),
    }


def _view(app: App, missing: Mapping[str, str]) -> AppView:
    return AppView(
        id=app.id,
        name=app.name,
        version=app.version,
        category=app.category,
        description=app.description,
        hidden=app.is_hidden,
        licence=app.licence,
        installed=app.id not in missing,
        accepts=accepted_files(app),
        missing=missing.get(app.id, ""),
    )


def _run_view(number: int, run: Rendered) -> PreviewRun:
    name = run.config_name or ""
    if run.file and run.config_format:
        name = f"{CONFIG_NAME}.{number}.{run.config_format}"
    return PreviewRun(file=run.file.name if run.file else "", command=run.command, config=run.config, config_name=name)


def _workflow_view(found: CatalogWorkflow, xml: str) -> Workflow:
    own = {name: getattr(found, name) for name in ("id", "name", "version", "category", "description", "hidden")}
    return Workflow(**own, steps=[step.app for step in found.steps], xml=xml)


def _scaffold(app_id: str, program: str | None) -> str:
    found = APP_ID.fullmatch(app_id)
    if found is None or len(app_id) > MAX_ID:
        raise InvalidInput("an app's id is its name and version, such as comet_2019.015", field="NAME_VERSION")
    name, version = found.groups()
    program = program or name
    return SCAFFOLD.format(
        id=quoteattr(app_id),
        name=quoteattr(name),
        version=quoteattr(version),
        command=quoteattr(f"{program} --threads %nb_threads% --out result.txt"),
        version_command=quoteattr(f"{program} --version"),
    )


def _problem_json(problem: CatalogProblem) -> dict[str, Any]:
    return {"file": str(problem.file), "line": problem.line, "reason": problem.reason}
