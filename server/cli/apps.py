"""``cumulus apps``: for who looks for an app, and for who writes one. ``check`` and ``new`` are about files of this computer."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from cumulus_client.apps import App, FormField, PreviewFile, PreviewRun
from programs.exits import ExitCode
from server.catalog.apps import parsed
from server.catalog.forms import filled, labelled
from server.catalog.values import check_settings
from server.cli.shared.arguments import FORM, TEXT, as_json_option
from server.cli.shared.backend import Rows, opened
from server.cli.shared.inputs import read_form, read_typed, require_counting
from server.cli.shared.opening import administrator
from server.cli.shared.output import asking_the_cloud, printable, show_json, show_table
from server.errors import InvalidInput
from server.services.apps import AppService, check_json, checked
from server.settings import load_settings


@click.group()
def apps() -> None:
    """List apps and their forms; check, try and begin the XML of apps."""


@apps.command("list")
@as_json_option
def list_apps(as_json: bool) -> None:
    """List the apps and the files that each accepts; those that the desktop client hides or the machines lack are marked.

    Example: cumulus apps list
    """
    with asking_the_cloud():
        found = opened(rows=Rows.IF_THERE).apps.list()
    if as_json:
        show_json([one.model_dump(exclude={"missing"}) for one in found])
        return
    rows = ((app.id, app.name, app.version, _accepted(app), _described(app)) for app in found)
    show_table(("app", "name", "version", "accepts", "description"), rows)


@apps.command()
@click.argument("app", type=TEXT)
@as_json_option
def show(app: str, as_json: bool) -> None:
    """Show the form of APP: each field with its label, its type, its default and what it accepts.

    Example: cumulus apps show comet_2019.015
    """
    with asking_the_cloud():
        found = opened(rows=Rows.IF_THERE).apps.get(app)
    if as_json:
        show_json(found.model_dump(exclude={"missing"}))
        return
    click.echo(printable(f"{found.name} {found.version}: {_described(found)}"))
    if found.missing:
        click.echo(printable(found.missing))
    rows = (("\n".join(field.keys), field.label, field.type, _default(field), _conditions(field)) for field in found.fields)
    show_table(("field", "label", "type", "default", "accepts"), rows)


@apps.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@as_json_option
def check(folder: Path | None, as_json: bool) -> None:
    """Check every file of FOLDER (default: the installation's apps); exit code 1 if one cannot be used.

    Example: cumulus apps check apps
    """
    found = checked(folder or load_settings().apps)
    if as_json:
        show_json(check_json(found))
    else:
        for usable in found.usable:
            click.echo(f"ok       {usable}")
        for problem in found.problems:
            click.echo(f"BROKEN   {problem}")
        for warning in found.warnings:
            click.echo(f"warning  {warning}")
    sys.exit(ExitCode.FAILED if found.problems else ExitCode.OK)


@apps.command()
@click.argument("app", type=TEXT)
@click.argument("form", type=FORM, metavar="SETTINGS.JSON")
@click.option("--cpus", type=click.IntRange(1, 4096), help="CPUs of the machine; default: the default flavor's.")
@as_json_option
def preview(app: str, form: Any, cpus: int | None, as_json: bool) -> None:
    """Print the command and the config file that APP makes of a form's settings (- for standard input), defaults filled in.

    Example: cumulus apps preview comet_2019.015 form.json
    """
    found = opened(rows=Rows.IF_THERE).apps.preview(app, read_form(form), cpus)
    if as_json:
        show_json(_for_programs(found.runs))
        return
    for number, one in enumerate(found.runs, 1):
        if one.file and len(found.runs) > 1:
            click.echo(f"{'' if number == 1 else chr(10)}--- run {number} of {len(found.runs)}, {one.file} ---")
        click.echo(one.command)
        if one.config is not None:
            click.echo(f"\n--- {one.config_name} ---\n{one.config}", nl=False)
    if found.files:
        click.echo("\n--- input ---")
        for file in found.files:
            click.echo(_named(file))


@apps.command()
@click.argument("app_id", metavar="NAME_VERSION")
@click.option("--program", type=TEXT, help="The program on the machine; default: NAME.")
def new(app_id: str, program: str | None) -> None:
    """Begin an app: write NAME_VERSION.xml into the installation's folder of apps; an existing file is left alone.

    Example: cumulus apps new mytool_1.0 --program /opt/mytool/run
    """
    click.echo(AppService(load_settings()).begin(administrator(), app_id, program))


@apps.command()
@click.argument("app", type=TEXT)
@click.option("--input", "inputs", multiple=True, metavar="NAME=PATH", help="A file for the field NAME; again for more.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="The value of the field NAME; lists as JSON.")
def form(app: str, inputs: tuple[str, ...], sets: tuple[str, ...]) -> None:
    """Print the form of APP as JSON, with the defaults of all fields that were not given: what a submission takes as `settings`.

    Example: cumulus apps form comet_2019.015 --set enzyme=lys_c
    """
    known = parsed(opened(rows=Rows.IF_THERE).apps.form(app).xml)
    typed = read_typed(known, sets, inputs)
    try:
        made = filled(known, typed.values)
        require_counting(known, made, typed.names)
        check_settings(known, made)
    except InvalidInput as error:
        raise labelled(known, error) from None
    show_json(made)


def _for_programs(runs: list[PreviewRun]) -> dict[str, Any]:
    """The first run; all of them where the app takes its files one by one."""
    found: dict[str, Any] = {"command": runs[0].command, "config": runs[0].config}
    if runs[0].file:
        found["runs"] = [{"file": one.file, "command": one.command, "config": one.config} for one in runs]
    return found


def _accepted(app: App) -> str:
    return "\n".join(f"{name}: {' '.join(formats) or 'any'}" for name, formats in app.accepts.items())


def _described(app: App) -> str:
    """What an app is for, and what keeps people from using it at once."""
    marks = ["hidden"] * app.hidden + ["needs a licence"] * bool(app.licence)
    marks += ["not on the machines"] * bool(app.missing)
    return f"({', '.join(marks)}) {app.description}" if marks else app.description


def _default(field: FormField) -> str:
    return "\n".join(_as_text(value) for value in field.defaults.values())


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _conditions(field: FormField) -> str:
    when = f"; counts if {' and '.join(field.when)}" if field.when else ""
    return f"{field.accepts}{'; required' if field.required else ''}{when}"


def _named(file: PreviewFile) -> str:
    where = "shared" if file.shared else "of the job alone"
    return f"{file.name} ({where}{f', becomes {file.target}' if file.target else ''})"
