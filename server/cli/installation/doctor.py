"""``cumulus doctor``: what this computer lacks."""

import sys
from dataclasses import asdict

import click

from programs.exits import ExitCode
from server.cli.shared.arguments import as_json_option
from server.cli.shared.opening import administrator
from server.cli.shared.output import PATIENCE_S, progress_on_stderr, show_json
from server.services.doctor import examine
from server.settings import load_settings


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Say what this computer lacks and how to get it; exit code 1 if something is missing.

    Example: cumulus doctor
    """
    with progress_on_stderr(PATIENCE_S).step("Looking at this computer and the cloud"):
        findings = examine(administrator(), load_settings())
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name}: {finding.text}")
    sys.exit(ExitCode.OK if all(finding.ok for finding in findings) else ExitCode.FAILED)
