"""``cumulus preset``: named forms of a user or a group."""

import json
from typing import Any

import click

from cumulus_client.presets import NewPreset, Preset
from server.cli.shared.arguments import FORM, TEXT, as_json_option
from server.cli.shared.backend import Rows, opened
from server.cli.shared.output import printable, show_json, show_table
from server.services.times import local_time
from server.settings import load_settings

GROUP = click.option("--group", type=TEXT, default="", help="That of this group; default: your own.")


@click.group("preset")
def preset() -> None:
    """Named forms, your own and those of your groups: begin a job or a batch with one by --preset."""


@preset.command("list")
@click.option("--app", type=TEXT, default="", help="Only presets of this app, in whatever version.")
@as_json_option
def list_presets(app: str, as_json: bool) -> None:
    """List the presets that you may use.

    Example: cumulus preset list --app comet_2019.015
    """
    found = opened().presets.list(app)
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        show_table(("name", "of", "app", "flavor", "saved", "description"), map(_cells, found))
    else:
        click.echo("there is no preset yet: `cumulus preset save` makes one")


@preset.command()
@click.argument("name", type=TEXT)
@click.option("--app", type=TEXT, default="", help="Say what of it fits this version of its app.")
@GROUP
@as_json_option
def show(name: str, app: str, group: str, as_json: bool) -> None:
    """Show a preset: the fields that it sets, and those that do not fit another version of its app.

    Example: cumulus preset show plasma --app comet_2024.01
    """
    from cumulus_client.presets import PresetQuery
    from server.cli.shared.requests import asked

    query = asked(PresetQuery, name=name, app=app, group=group)
    found = opened().presets.get(query.name, query.app, query.group)
    if as_json:
        show_json(found.model_dump())
        return
    whose = f"the group {found.group}" if found.group else found.owner
    click.echo(printable(f"{found.name} of {whose}, {found.app}, saved by {found.changed_by} {local_time(found.changed)}"))
    for title, text in (("flavor", found.flavor), ("about", found.description)):
        if text:
            click.echo(printable(f"{title:8} {text}"))
    show_table(("field", "value"), ((field, _value(value)) for field, value in found.form.items()))
    for one in found.misfits:
        click.echo(printable(f"left out: {one.field}: {one.why}"), err=True)


@preset.command()
@click.argument("name", type=TEXT)
@click.argument("app", type=TEXT)
@click.option("--set", "sets", type=TEXT, multiple=True, metavar="NAME=VALUE", help="The value of a field; lists as JSON.")
@click.option("--shared", "stored", type=TEXT, multiple=True, metavar="NAME=FILE", help="A file of the storage.")
@click.option("--settings", "form", type=FORM, help="A form as JSON to begin with, - for standard input.")
@click.option("--flavor", type=TEXT, default="", help="Machine size.")
@click.option("--description", type=TEXT, default="")
@click.option("--group", type=TEXT, default="", help="For this group, of which you are a manager; default: for yourself.")
def save(
    name: str,
    app: str,
    sets: tuple[str, ...],
    stored: tuple[str, ...],
    form: Any,
    flavor: str,
    description: str,
    group: str,
) -> None:
    """Save a form of APP under a name, in place of what had the name.

    Example: cumulus preset save plasma comet_2019.015 --set precursor_tolerance=10 --shared database=human.fasta
    """
    from server.catalog.apps import parsed
    from server.cli.batch.form import common_form
    from server.cli.shared.connection import shared_files
    from server.cli.shared.requests import asked

    known = parsed(opened(rows=Rows.IF_THERE).apps.form(app).xml)
    values = common_form(known, sets, (), shared_files(load_settings()), stored, form).values
    new = asked(NewPreset, name=name, app=app, form=values, flavor=flavor, description=description, group=group)
    saved = opened(to_change=True).presets.save(new)
    click.echo(f"Preset {saved.name} is saved for {saved.app}")


@preset.command()
@click.argument("name", type=TEXT)
@GROUP
def delete(name: str, group: str) -> None:
    """Delete a preset.

    Example: cumulus preset delete plasma
    """
    from cumulus_client.presets import OnePreset
    from server.cli.shared.requests import asked

    one = asked(OnePreset, name=name, group=group)
    click.echo(opened(to_change=True).presets.delete(one.name, one.group))


def _cells(one: Preset) -> tuple[str, ...]:
    return one.name, one.group or one.owner, one.app, one.flavor, local_time(one.changed), one.description


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
