"""``cumulus login``, ``logout``: let the other commands ask a controller elsewhere."""

import os
import socket
import sys
from urllib.parse import urlsplit

import click

from cumulus_client import ApiError, Cumulus
from cumulus_client.tokens import TokenRequest
from cumulus_client.users import Me
from programs.border import tell
from server.cli.accounts.credentials import TOKEN, Login, current_login, forget, remember
from server.cli.shared.arguments import TEXT
from server.cli.shared.output import printable
from server.errors import InvalidInput

SCOPES = click.Choice(["read", "submit", "admin"])
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command()
@click.argument("url", required=False, type=TEXT)
@click.option("--user", type=TEXT, help="Log in with a name and a password, which is asked for; a token is made of it.")
@click.option(
    "--name", type=TEXT, default=socket.gethostname, show_default="this computer's", help="What the new token is called."
)
@click.option("--days", type=click.IntRange(1), help="How long the new token lasts.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["read", "submit", "admin"]), help="Of the new token; again for more."
)
def login(url: str | None, user: str | None, name: str, days: int | None, scopes: tuple[str, ...]) -> None:
    """Have the other commands ask the controller at URL; without URL, say which they ask.

    The token is read from CUMULUS_TOKEN, from standard input, or asked for; with --user it is made for this computer.
    Examples: cumulus login https://cumulus.lab --user ada; cumulus login https://cumulus.lab < token.txt
    """
    if url is None:
        _say_which()
        return
    url = _checked(url)
    token = _made(url, user, _request(name, days, scopes)) if user else _given()
    me = Cumulus.at(url, token).users.me()
    remember(Login(url, token))
    click.echo(_described(url, me))


@click.command()
def logout() -> None:
    """Revoke the token that `login` has remembered, and ask this computer's controller again.

    Example: cumulus logout
    """
    known = current_login()
    if known is not None:
        try:
            cumulus = Cumulus.at(known.url, known.token)
            me = cumulus.users.me()
            if me.token is not None:
                cumulus.tokens.revoke(me.token)
        except ApiError as problem:
            tell("cumulus", f"the token could not be revoked: {problem.message}")
    click.echo(f"{known.url} is asked no more" if forget() and known else "nobody was logged in")


def _request(name: str, days: int | None, scopes: tuple[str, ...]) -> TokenRequest:
    return TokenRequest.model_validate({"name": name[:80], "days": days, "scopes": list(scopes) or ["read", "submit"]})


def _say_which() -> None:
    known = current_login()
    if known is None:
        click.echo("commands ask the installation on this computer; `cumulus login URL` asks another")
        return
    click.echo(_described(known.url, Cumulus.at(known.url, known.token).users.me()))


def _described(url: str, me: Me) -> str:
    return printable(f"{url}: {me.name} ({', '.join(me.roles)}; {', '.join(me.scopes)})")


def _checked(url: str) -> str:
    """The URL, with a warning where the token would be sent in clear. Raises InvalidInput."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise InvalidInput(f"{printable(url)[:200]} is no URL of a controller, such as https://cumulus.lab", field="url")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        tell("cumulus", "the token is sent unencrypted, so that others in the network could read it: use https where you can")
    return url.rstrip("/")


def _given() -> str:
    """The token that somebody has. Raises InvalidInput."""
    given = os.environ.get(TOKEN, "")
    if not given:
        given = click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not (token := given.strip()):
        raise InvalidInput("no token is given: `cumulus token create NAME` makes one, or log in with --user", field="token")
    return token


def _made(url: str, user: str, request: TokenRequest) -> str:
    """A token made with a password, by a session that ends at once."""
    from cumulus_client.session import session  # httpx's cookies are not needed elsewhere

    password = click.prompt("Password", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    with session(url, user, password) as cumulus:
        return cumulus.tokens.create(request).text
