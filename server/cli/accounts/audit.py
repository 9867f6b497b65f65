"""``cumulus audit``: who has changed what, and what was refused."""

import click

from cumulus_client.audit import AuditEntry, AuditQuery
from server.cli.shared.arguments import TEXT, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.output import show_json, show_table
from server.services.times import local_time


@click.command()
@click.option("--who", type=TEXT, default="", help="Only what this user did or tried.")
@click.option("--action", type=TEXT, default="", help="Only this action, as the list shows it.")
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--address", type=TEXT, default="", help="Only from this address.")
@click.option("--number", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many lines.")
@as_json_option
def audit(who: str, action: str, refused: bool, address: str, number: int, as_json: bool) -> None:
    """List who has changed what, and what was refused, newest first.

    Example: cumulus audit --refused --number 20
    """
    outcome = "refused" if refused else ""
    found = opened().audit.list(AuditQuery(who=who, action=action, outcome=outcome, address=address, limit=number))
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        show_table(("when", "who", "from", "what", "subject", "outcome", "detail"), map(_cells, found))
    else:
        click.echo("there is no such line in the audit")


def _cells(one: AuditEntry) -> tuple[str, ...]:
    times = f" ×{one.count}" if one.count > 1 else ""
    outcome = f"{one.outcome} ({one.code}){times}" if one.code else f"{one.outcome}{times}"
    return local_time(one.last_at), one.who or "somebody", one.address or "here", one.action, one.subject, outcome, one.detail
