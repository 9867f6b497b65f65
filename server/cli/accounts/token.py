"""``cumulus token``: what programs and commands on other computers log in with."""

import click

from cumulus_client.tokens import Token, TokenWish
from server.cli.shared.arguments import TEXT, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.output import show_json, show_table
from server.services.times import local_time

SCOPES = click.Choice(["read", "submit", "admin"])


@click.group("token")
def token() -> None:
    """API tokens: what programs and commands on other computers log in with."""


@token.command("list")
@click.option("--all", "everybody", is_flag=True, help="All users' and agents'.")
@as_json_option
def list_tokens(everybody: bool, as_json: bool) -> None:
    """List tokens, without their secrets.

    Example: cumulus token list --all
    """
    found = opened().tokens.list(everybody=everybody)
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        show_table(("token", "name", "of", "for", "expires", "last used"), map(_cells, found))
    else:
        click.echo("there is no token; `cumulus token create NAME` makes one")


@token.command()
@click.argument("name", type=TEXT)
@click.option("--scope", "scopes", multiple=True, type=SCOPES, help="What it is good for; again for more. Default: read, submit.")
@click.option("--days", type=click.IntRange(1), help="Until it expires; default: 90.")
@click.option("--user", "owner", type=TEXT, help="Whose it is; default: yours.")
@click.option("--agent", "for_agent", is_flag=True, help="It is an agent's, which reports on files and is no user.")
@as_json_option
def create(name: str, scopes: tuple[str, ...], days: int | None, owner: str | None, for_agent: bool, as_json: bool) -> None:
    """Make a token called NAME; prints it, this once.

    Examples: cumulus token create laptop --user ada --days 30; cumulus token create lumos --agent
    """
    fields = {"name": name, "scopes": list(scopes) or ["read", "submit"], "days": days, "owner": owner, "for_agent": for_agent}
    made = opened(to_change=True).tokens.create(TokenWish.model_validate(fields))
    if as_json:
        show_json(made.model_dump())
        return
    click.echo(made.text)
    until = f"until {local_time(made.expires)}" if made.expires else "without a limit in time"
    click.echo(f"this is token {made.id}, good {until}; it is not shown again", err=True)


@token.command()
@click.argument("number", type=click.IntRange(1))
def revoke(number: int) -> None:
    """Let the token NUMBER be used no more, from now on.

    Example: cumulus token revoke 3
    """
    opened(to_change=True).tokens.revoke(number)
    click.echo(f"token {number} is revoked")


def _cells(one: Token) -> tuple[str, ...]:
    until = "revoked" if one.revoked_at else local_time(one.expires) if one.expires else "never"
    used = local_time(one.last_used) if one.last_used else "never"
    return str(one.id), one.name, one.owner or "an agent", ", ".join(one.scopes), until, used
