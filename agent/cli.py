"""The ``cumulus-agent`` command. Thin: each command calls one thing below it and shows what comes back."""

import json
import logging
import os
import sys
from logging.handlers import RotatingFileHandler

import click
import structlog

from agent.errors import SetupMissing
from agent.http_client import NoAnswer, get
from agent.installation import running_agent
from agent.queue.database import open_to_read, unusable
from agent.queue.queue import Queue
from agent.serve import serve as run_agent
from agent.settings import CONFIG, Settings, load_settings, where_given
from programs.commands import Commands
from programs.errors import explained
from programs.exits import ExitCode
from programs.regular import is_regular
from programs.version import VERSION

LOG = "agent.log"
OLD_LOGS = 5
MB = 1 << 20
ASK_TIMEOUT_S = 5.0


@click.group(cls=Commands, program="cumulus-agent", unusable=unusable)
@click.version_option(VERSION, prog_name="cumulus-agent")
@click.option(
    "--config", type=click.Path(dir_okay=False), help="Settings file; default: cumulus-agent.toml in the working directory."
)
def main(config: str | None) -> None:
    """Send a laboratory's files to the controller's storage, one after the other, without losing the place."""
    if config is not None:
        os.environ[CONFIG] = config


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.")
def serve(host: str | None, port: int | None) -> None:
    """Run the agent until SIGTERM or Ctrl-C."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**given)
    _log_to_file(settings)
    run_agent(settings)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def queue(as_json: bool) -> None:
    """Show what is queued or under way, whether the agent runs or not."""
    from agent.view import show  # only this command needs it

    _open_queue(load_settings())
    show(Queue().listing.lines(), as_json=as_json)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Say what this computer lacks for the agent; exit code 1 if it lacks something."""
    from agent.doctor import examine

    findings = examine(load_settings())
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'LACK'}  {finding.name}: {finding.text}")
    sys.exit(ExitCode.OK if all(finding.ok for finding in findings) else ExitCode.FAILED)


@main.command()
def status() -> None:
    """Say whether the agent runs and answers, and how many jobs are in which state; exit code 1 if it does not."""
    settings = load_settings()
    running = running_agent(settings.home)
    answers = running is not None and _answers(running.url)
    if running is None:
        click.echo(f"no agent runs on {settings.home}")
    else:
        click.echo(f"process {running.pid} at {running.url} {'answers' if answers else 'does not answer'}")
    _open_queue(settings)
    for state, number in Queue().listing.counts().items():
        click.echo(f"{number:6}  {state}")
    sys.exit(ExitCode.OK if answers else ExitCode.FAILED)


def _open_queue(settings: Settings) -> None:
    """Open the queue that there is; nothing is made. Raises SetupMissing, QueueMissing."""
    if not settings.home.is_dir():
        text = f"no agent has run on {settings.home} ({where_given('home')}): set the right folder, or start the agent"
        raise SetupMissing(text, field="setting home")
    click.get_current_context().find_root().call_on_close(open_to_read(settings.database).close)


def _answers(url: str) -> bool:
    try:
        return get(url, "/", ASK_TIMEOUT_S).text == VERSION
    except NoAnswer:
        return False


def _log_to_file(settings: Settings) -> None:
    """Log to standard error and to a file in the home, which is rotated."""
    folder = settings.home / "log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_regular(folder / LOG)
    except OSError as problem:
        raise SetupMissing(f"the log cannot be written: {explained(problem)}; move it away") from None
    file = RotatingFileHandler(folder / LOG, maxBytes=int(settings.log_mb * MB), backupCount=OLD_LOGS, encoding="utf-8")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[logging.StreamHandler(), file])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event"), bool_as_flag=False),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
