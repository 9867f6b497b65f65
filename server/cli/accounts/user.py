"""``cumulus user``: who may log in, and as what."""

import sys

import click

from cumulus_client.users import NewUser, User, UserChanges
from server.cli.shared.arguments import TEXT, as_json_option, number_between
from server.cli.shared.backend import opened
from server.cli.shared.output import show_json, show_table
from server.errors import InvalidInput
from server.services.times import local_time

ROLES = click.Choice(["user", "admin"])
MAX_GB = 1e9


@click.group("user")
def user() -> None:
    """Users: who may log in, and as what."""


@user.command("list")
@as_json_option
def list_users(as_json: bool) -> None:
    """List the users that you may see.

    Example: cumulus user list
    """
    found = opened().users.list()
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        show_table(("user", "role", "groups", "logs in by", "quota", "last seen"), map(_cells, found))
    else:
        click.echo("there is no user yet; `cumulus user create NAME --role admin` makes the first")


@user.command()
@click.argument("name", type=TEXT)
@click.option("--role", type=ROLES, default="user", show_default=True)
@click.option("--display-name", type=TEXT, default="")
@click.option("--email", type=TEXT, default="")
@click.option("--quota-gb", type=number_between(0.001, MAX_GB), help="GB of the storage; default: no limit of their own.")
@click.option("--password", "asks", is_flag=True, help="Ask for a password; default: a link by which the user chooses one.")
@as_json_option
def create(name: str, role: str, display_name: str, email: str, quota_gb: float | None, asks: bool, as_json: bool) -> None:
    """Make the user NAME, the login by which jobs are known; prints a link by which a password is chosen.

    Example: cumulus user create ada --display-name "Ada L." --email ada@lab.example
    """
    cumulus, password = opened(to_change=True), _password("Password") if asks else ""
    given = NewUser.model_validate(
        {
            "name": name,
            "role": role,
            "display_name": display_name,
            "email": email,
            "quota_gb": quota_gb,
            "password": password,
        }
    )
    made = cumulus.users.create(given)
    link = None if asks else cumulus.users.invite(name)
    if as_json:
        show_json({**made.model_dump(), "invitation": link.url if link else None})
        return
    click.echo(f"{name} is a user now" if made.role == "user" else f"{name} is an administrator now")
    if link:
        click.echo(f"until {local_time(link.expires)} a password can be chosen at {link.url}")


@user.command()
@click.argument("name", type=TEXT)
@click.option("--role", type=ROLES)
@click.option("--display-name", type=TEXT)
@click.option("--email", type=TEXT)
@click.option("--quota-gb", type=number_between(0, MAX_GB), help="GB of the storage; 0: no limit of their own.")
def change(name: str, role: str | None, display_name: str | None, email: str | None, quota_gb: float | None) -> None:
    """Change a user; what is not given stays.

    Example: cumulus user change ada --role admin
    """
    given = {"role": role, "display_name": display_name, "email": email}
    fields: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if quota_gb is not None:
        fields["quota_gb"] = quota_gb or None
    cumulus = opened(to_change=True)
    if not fields:
        raise click.UsageError("say what to change")
    cumulus.users.change(UserChanges.model_validate({"user": name, **fields}))
    click.echo(f"{name} is changed")


@user.command()
@click.argument("name", type=TEXT)
def invite(name: str) -> None:
    """Print a link by which a user chooses a password, once; an earlier one ends.

    Example: cumulus user invite ada
    """
    made = opened(to_change=True).users.invite(name)
    click.echo(made.url)
    click.echo(f"it is good until {local_time(made.expires)}", err=True)


@user.command("password")
@click.argument("name", type=TEXT)
def set_password(name: str) -> None:
    """Set a user's password, which is asked for or read from standard input; all sessions of the user end.

    Example: cumulus user password ada
    """
    cumulus = opened(to_change=True)
    me = cumulus.users.me()
    old = _password("Old password") if me.name == name and me.established != "local_admin" else ""
    click.echo(cumulus.users.set_password(name, _password("New password"), old))


@user.command()
@click.argument("name", type=TEXT)
def disable(name: str) -> None:
    """Let a user in no more: tokens and sessions end at once, jobs go on.

    Example: cumulus user disable ada
    """
    opened(to_change=True).users.disable(name)
    click.echo(f"{name} is disabled")


@user.command()
@click.argument("name", type=TEXT)
def enable(name: str) -> None:
    """Let a disabled user in again; tokens from before stay revoked.

    Example: cumulus user enable ada
    """
    opened(to_change=True).users.enable(name)
    click.echo(f"{name} is enabled")


@user.command()
@click.argument("name", type=TEXT)
def delete(name: str) -> None:
    """Delete a user who has no jobs.

    Example: cumulus user delete ada
    """
    click.echo(opened(to_change=True).users.delete(name))


def _password(what: str) -> str:
    """A password that is typed twice, or a line of standard input. Raises InvalidInput."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True, confirmation_prompt=what != "Old password"))
    if not (line := sys.stdin.readline().rstrip("\n")):
        raise InvalidInput(f"no {what.lower()} is given on standard input", field="password")
    return line


def _cells(one: User) -> tuple[str, ...]:
    groups = ", ".join(f"{name} (manager)" if manages else name for name, manages in sorted(one.groups.items()))
    role = f"{one.role}, disabled" if one.disabled_at else one.role
    quota = "" if one.quota_gb is None else f"{one.quota_gb:g} GB"
    ways = ", ".join(one.logs_in_by) or "nothing yet"
    return one.name, role, groups, ways, quota, local_time(one.last_seen) if one.last_seen else "never"
