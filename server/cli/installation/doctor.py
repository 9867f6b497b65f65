"""``cumulus doctor``: what this computer lacks."""

import json
import sys

import click

from programs.exits import ExitCode
from server.cli.shared.output import PATIENCE_S, progress_on_stderr
from server.services.doctor import examine
from server.settings import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Say what this computer lacks and how to get it; exit code 1 if something is missing."""
    with progress_on_stderr(PATIENCE_S).step("Looking at this computer and the cloud"):
        findings = examine(load_settings())
    if as_json:
        click.echo(json.dumps([{"name": f.name, "ok": f.ok, "text": f.text} for f in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name}: {finding.text}")
    sys.exit(ExitCode.OK if all(finding.ok for finding in findings) else ExitCode.FAILED)
