"""``cumulus group``: whose jobs a team sees, and who looks after it."""

import click

from cumulus_client.groups import Group, GroupChanges, NewGroup
from server.cli.shared.arguments import TEXT, as_json_option, number_between
from server.cli.shared.backend import opened
from server.cli.shared.output import show_json, show_table

MAX_GB = 1e9


@click.group("group")
def group() -> None:
    """Groups: teams whose members may see each other's jobs."""


@group.command("list")
@as_json_option
def list_groups(as_json: bool) -> None:
    """List the groups that you may see, with their members.

    Example: cumulus group list
    """
    found = opened().groups.list()
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        show_table(("group", "members", "sees the members' jobs", "quota"), map(_cells, found))
    else:
        click.echo("there is no group; `cumulus group create NAME` makes one")


@group.command()
@click.argument("name", type=TEXT)
@click.option("--shares-jobs", is_flag=True, help="Its members see each other's jobs.")
@click.option("--quota-gb", type=number_between(0.001, MAX_GB), help="GB of the storage for all members together.")
def create(name: str, shares_jobs: bool, quota_gb: float | None) -> None:
    """Make the group NAME, without members.

    Example: cumulus group create proteomics --shares-jobs
    """
    opened(to_change=True).groups.create(NewGroup(name=name, shares_jobs=shares_jobs, quota_gb=quota_gb))
    click.echo(f"the group {name} is there; `cumulus group add {name} USER` puts somebody into it")


@group.command()
@click.argument("name", type=TEXT)
@click.option("--shares-jobs/--hides-jobs", default=None, help="Whether its members see each other's jobs.")
@click.option("--quota-gb", type=number_between(0, MAX_GB), help="GB of the storage for all members together; 0: no limit.")
def change(name: str, shares_jobs: bool | None, quota_gb: float | None) -> None:
    """Change a group; what is not given stays.

    Example: cumulus group change proteomics --hides-jobs
    """
    fields: dict[str, object] = {} if shares_jobs is None else {"shares_jobs": shares_jobs}
    if quota_gb is not None:
        fields["quota_gb"] = quota_gb or None
    cumulus = opened(to_change=True)
    if not fields:
        raise click.UsageError("say what to change")
    cumulus.groups.change(GroupChanges.model_validate({"group": name, **fields}))
    click.echo(f"the group {name} is changed")


@group.command()
@click.argument("name", type=TEXT)
@click.argument("user", type=TEXT)
@click.option("--manager", is_flag=True, help="The user looks after the group, too.")
def add(name: str, user: str, manager: bool) -> None:
    """Put USER into the group NAME, or change whether a member looks after it.

    Example: cumulus group add proteomics ada --manager
    """
    opened(to_change=True).groups.add(name, user, is_manager=manager)
    click.echo(f"{user} is a {'manager' if manager else 'member'} of {name}")


@group.command()
@click.argument("name", type=TEXT)
@click.argument("user", type=TEXT)
def remove(name: str, user: str) -> None:
    """Take USER out of the group NAME.

    Example: cumulus group remove proteomics ada
    """
    opened(to_change=True).groups.remove(name, user)
    click.echo(f"{user} is no member of {name} any more")


@group.command()
@click.argument("name", type=TEXT)
def delete(name: str) -> None:
    """Delete a group; its members stay users.

    Example: cumulus group delete proteomics
    """
    click.echo(opened(to_change=True).groups.delete(name))


def _cells(one: Group) -> tuple[str, ...]:
    members = ", ".join(f"{member.name} (manager)" if member.is_manager else member.name for member in one.members)
    quota = "" if one.quota_gb is None else f"{one.quota_gb:g} GB"
    return one.name, members, "yes" if one.shares_jobs else "no", quota
