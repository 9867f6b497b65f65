"""``cumulus template``: the machine that workers are copies of."""

import click

from server.cli.shared.output import progress_on_stderr
from server.cli.shared.templates import LongCommands, known_template, new_template


@click.group(cls=LongCommands)
def template() -> None:
    """The machine that workers are copies of."""


@template.command("build")
@click.option("--fresh", is_flag=True, help="Build it anew even if there is one.")
def template_build(fresh: bool) -> None:
    """Build the template's disk with the apps on it, where there is none."""
    new_template().build(progress_on_stderr(), fresh=fresh)


@template.command("boot")
def template_boot() -> None:
    """Start the template's machine to install or try something on it; prints how to log in."""
    click.echo(new_template().boot(progress_on_stderr()))


@template.command("stop")
def template_stop() -> None:
    """Shut the template's machine down; its disk keeps what was installed."""
    known_template().stop(progress_on_stderr())
