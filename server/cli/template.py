"""``cumulus template``: the machine that workers are copies of."""

import click

from server.cli.shared.long_commands import LongCommands
from server.cli.shared.opening import administrator
from server.cli.shared.output import progress_on_stderr
from server.services.machines.snapshots import SnapshotService
from server.settings import load_settings


@click.group(cls=LongCommands)
def template() -> None:
    """The machine that workers are copies of.

    Example: cumulus template build
    """


@template.command("build")
@click.option("--fresh", is_flag=True, help="Build it anew even if there is one.")
def template_build(fresh: bool) -> None:
    """Build the template's disk with the apps on it, where there is none.

    Example: cumulus template build --fresh
    """
    SnapshotService(load_settings()).build(administrator(), progress_on_stderr(), fresh=fresh)


@template.command("boot")
def template_boot() -> None:
    """Start the template's machine to install or try something on it; prints how to log in.

    Example: cumulus template boot
    """
    click.echo(SnapshotService(load_settings()).boot(administrator(), progress_on_stderr()))


@template.command("stop")
def template_stop() -> None:
    """Shut the template's machine down; its disk keeps what was installed.

    Example: cumulus template stop
    """
    SnapshotService(load_settings()).stop(administrator(), progress_on_stderr())
