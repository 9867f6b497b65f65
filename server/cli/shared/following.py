"""A job's log on the terminal while the job runs, with a live line of what the job is at."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click

from cumulus_client.client import Cumulus
from server.cli.shared.output import progress_on_stderr
from server.cli.shared.terminal import progress_on
from server.progress import Counter, Step


def follow(cumulus: Cumulus, job_id: int) -> bool:
    """Print the log as it grows until the job ends; True if it is done. Raises Refused where there is no such job."""
    with _watched(job_id) as (write, step):
        for part in cumulus.logs.follow(job_id):
            step.note(f"{part.state}: {part.message}" if part.message else part.state)
            if part.text:
                write(part.text)
    if text := part.message or (f"done with a warning: {part.warning}" if part.warning else ""):
        click.echo(text, err=True)
    return part.is_done


@contextmanager
def _watched(job_id: int) -> Iterator[tuple[Callable[[str], None], Step]]:
    """What prints the log, and a live line beside it of what the job is at. Only a person at a terminal sees that one."""
    if not sys.stderr.isatty():
        yield partial(click.echo, nl=False), Counter("", "", 0.0)
        return
    both = sys.stdout.isatty()  # then the log must be written past the live line
    progress = progress_on(sys.stdout) if both else progress_on_stderr()
    lines = WholeLines(progress.say)
    with progress.step(f"Job {job_id}") as step:
        yield lines.write if both else partial(click.echo, nl=False), step
        lines.end()


@dataclass
class WholeLines:
    """Takes text in pieces and says it in lines."""

    say: Callable[[str], None]
    rest: str = ""

    def write(self, text: str) -> None:
        """Say the lines that are whole now."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.say(line)

    def end(self) -> None:
        """Say what is left."""
        if self.rest:
            self.say(self.rest)
