"""``cumulus apps``: for who looks for an app, and for who writes one. Works on files, without a controller."""

import json
import re
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import click

from programs.errors import explained
from programs.exits import ExitCode
from server.catalog.apps import Catalog, CatalogProblem
from server.catalog.descriptions import FieldDescription, accepted_files, describe
from server.catalog.flavors import read_flavors
from server.catalog.forms import completed, filled
from server.catalog.model import App
from server.catalog.rendering.command import CONFIG_NAME, Rendered, Variables, render, render_each
from server.catalog.values import check_settings, input_files
from server.cli.shared.arguments import FORM, TEXT
from server.cli.shared.clouds import asking_the_cloud
from server.cli.shared.inputs import labelled, read_form, read_typed, require_counting
from server.cli.shared.output import printable, show_table
from server.engine.installed_apps import InstalledApps
from server.errors import InvalidInput, NotFound
from server.settings import Settings, load_settings, where_given
from server.workers.clouds.registry import cloud_to_look_at

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


@click.group()
def apps() -> None:
    """List apps and their forms; check, try and begin the XML of apps."""


@apps.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_apps(as_json: bool) -> None:
    """List the apps and the files that each accepts; those that the desktop client hides or the machines lack are marked."""
    settings = load_settings()
    if not settings.apps.is_dir():
        raise NotFound(f"there is no folder of apps {settings.apps} ({where_given('apps')})", field="setting apps")
    catalog = Catalog(settings.apps)
    found, missing = list(catalog.apps().values()), _missing(settings, catalog)
    if as_json:
        click.echo(json.dumps([_app_as_json(app, missing) for app in found], indent=1))
        return
    rows = ((app.id, app.name, app.version, _accepted(app), _described(app, missing)) for app in found)
    show_table(("app", "name", "version", "accepts", "description"), rows)


@apps.command()
@click.argument("app", type=TEXT)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(app: str, as_json: bool) -> None:
    """Show the form of APP: each field with its label, its type, its default and what it accepts."""
    settings = load_settings()
    catalog = Catalog(settings.apps)
    known = catalog.get(app)
    fields, missing = describe(known), _missing(settings, catalog)
    if as_json:
        click.echo(json.dumps({**_app_as_json(known, missing), "fields": [asdict(field) for field in fields]}, indent=1))
        return
    click.echo(printable(f"{known.name} {known.version}: {_described(known, missing)}"))
    if known.id in missing:
        click.echo(printable(missing[known.id]))
    rows = (("\n".join(field.keys), field.label, field.type, _default(field), _conditions(field)) for field in fields)
    show_table(("field", "label", "type", "default", "accepts"), rows)


@apps.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(folder: Path | None, as_json: bool) -> None:
    """Check every file of FOLDER (default: the installation's apps); exit code 1 if one cannot be used."""
    catalog = Catalog(folder or load_settings().apps)
    found, problems, warnings = sorted([*catalog.apps(), *catalog.workflows()]), catalog.problems(), catalog.warnings()
    if as_json:
        told = {"problems": [*map(_as_json, problems)], "warnings": [*map(_as_json, warnings)]}
        click.echo(json.dumps({"usable": found, **told}, indent=1))
    else:
        for usable in found:
            click.echo(f"ok       {usable}")
        for problem in problems:
            click.echo(f"BROKEN   {problem}")
        for warning in warnings:
            click.echo(f"warning  {warning}")
    sys.exit(ExitCode.FAILED if problems else ExitCode.OK)


@apps.command()
@click.argument("app", type=TEXT)
@click.argument("form", type=FORM, metavar="SETTINGS.JSON")
@click.option("--cpus", type=click.IntRange(1, 4096), help="CPUs of the machine; default: the default flavor's.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def preview(app: str, form: Any, cpus: int | None, as_json: bool) -> None:
    """Print the command and the config file that APP makes of a form's settings (- for standard input), defaults filled in."""
    settings = load_settings()
    known = Catalog(settings.apps).get(app)
    given = read_form(form)
    folders = {"input_dir": f"{WORK_DIR}/input", "output_dir": f"{WORK_DIR}/output", "config_file": f"{WORK_DIR}/{CONFIG_NAME}"}
    variables = Variables(threads=max(1, (cpus or _default_cpus(settings)) - 1), **folders)
    try:
        values = completed(known, given)
        runs = render_each(known, values, variables) or [render(known, values, variables)]
    except InvalidInput as error:
        raise labelled(known, error) from None
    if as_json:
        click.echo(json.dumps(_preview_as_json(runs), indent=1))
        return
    for number, one in enumerate(runs, 1):
        if one.file and len(runs) > 1:
            click.echo(f"{'' if number == 1 else chr(10)}--- run {number} of {len(runs)}, {one.file.name} ---")
        click.echo(one.command)
        if one.config is not None:
            name = f"{CONFIG_NAME}.{number}.{one.config_format}" if one.file else one.config_name
            click.echo(f"\n--- {name} ---\n{one.config}", nl=False)
    if files := _named_files(known, values):
        click.echo(f"\n--- input ---\n{files}")


@apps.command()
@click.argument("app_id", metavar="NAME_VERSION")
@click.option("--program", type=TEXT, help="The program on the machine; default: NAME.")
def new(app_id: str, program: str | None) -> None:
    """Begin an app: write NAME_VERSION.xml into the installation's folder of apps; an existing file is left alone."""
    found = APP_ID.fullmatch(app_id)
    if found is None or len(app_id) > MAX_ID:
        raise InvalidInput("an app's id is its name and version, such as comet_2019.015", field="NAME_VERSION")
    name, version = found.groups()
    program = program or name
    text = SCAFFOLD.format(
        id=quoteattr(app_id),
        name=quoteattr(name),
        version=quoteattr(version),
        command=quoteattr(f"{program} --threads %nb_threads% --out result.txt"),
        version_command=quoteattr(f"{program} --version"),
    )
    path = load_settings().apps / f"{app_id}.xml"
    if app_id in Catalog(path.parent).apps():
        raise InvalidInput(f"there is an app {app_id} already", field="NAME_VERSION")
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidInput(f"{path} is there already", field="NAME_VERSION") from None
    except OSError as error:
        raise InvalidInput(f"the app cannot be written: {explained(error)}", field="NAME_VERSION") from None
    click.echo(path)


@apps.command()
@click.argument("app", type=TEXT)
@click.option("--input", "inputs", multiple=True, metavar="NAME=PATH", help="A file for the field NAME; again for more.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="The value of the field NAME; lists as JSON.")
def form(app: str, inputs: tuple[str, ...], sets: tuple[str, ...]) -> None:
    """Print the form of APP as JSON, with the defaults of all fields that were not given: what /start takes as `settings`."""
    known = Catalog(load_settings().apps).get(app)
    typed = read_typed(known, sets, inputs)
    try:
        made = filled(known, typed.values)
        require_counting(known, made, typed.names)
        check_settings(known, made)
    except InvalidInput as error:
        raise labelled(known, error) from None
    click.echo(json.dumps(made, indent=1))


def _missing(settings: Settings, catalog: Catalog) -> Mapping[str, str]:
    """The apps that the machines lack, by id, and why; none where there is no installation that could have machines."""
    if not settings.home.is_dir():
        return {}
    with asking_the_cloud():
        return InstalledApps(catalog, cloud_to_look_at(settings)).missing(tries=True)


def _preview_as_json(runs: Sequence[Rendered]) -> dict[str, Any]:
    """The first run; all of them where the app takes its files one by one."""
    told: dict[str, Any] = {"command": runs[0].command, "config": runs[0].config}
    if runs[0].file:
        told["runs"] = [{"file": one.file.name, "command": one.command, "config": one.config} for one in runs if one.file]
    return told


def _app_as_json(app: App, missing: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": app.id,
        "name": app.name,
        "version": app.version,
        "category": app.category,
        "description": app.description,
        "hidden": app.is_hidden,
        "licence": app.licence,
        "installed": app.id not in missing,
        "accepts": accepted_files(app),
    }


def _accepted(app: App) -> str:
    return "\n".join(f"{name}: {' '.join(formats) or 'any'}" for name, formats in accepted_files(app).items())


def _described(app: App, missing: Container[str]) -> str:
    """What an app is for, and what keeps people from using it at once."""
    marks = ["hidden"] * app.is_hidden + ["needs a licence"] * bool(app.licence)
    marks += ["not on the machines"] * (app.id in missing)
    return f"({', '.join(marks)}) {app.description}" if marks else app.description


def _default(field: FieldDescription) -> str:
    return "\n".join(_as_text(value) for value in field.defaults.values())


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _conditions(field: FieldDescription) -> str:
    when = f"; counts if {' and '.join(field.when)}" if field.when else ""
    return f"{field.accepts}{'; required' if field.required else ''}{when}"


def _default_cpus(settings: Settings) -> int:
    flavor = read_flavors(settings.flavors).get(settings.default_flavor)
    if flavor is None:
        raise NotFound(f"there is no machine size {settings.default_flavor}: give --cpus", field="setting default_flavor")
    return flavor.cpus


def _named_files(app: App, values: dict[str, Any]) -> str:
    where = {True: "shared", False: "of the job alone"}
    return "\n".join(
        f"{file.name} ({where[file.shared]}{f', becomes {file.target}' if file.convert else ''})"
        for file in input_files(app, values)
    )


def _as_json(problem: CatalogProblem) -> dict[str, Any]:
    return {"file": str(problem.file), "line": problem.line, "reason": problem.reason}
