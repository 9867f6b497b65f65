"""A job's log on the terminal while the job runs, with a live line of what the job is at."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click

from server.cli.shared.opening import administrator, until_the_end
from server.cli.shared.output import progress_on_stderr
from server.cli.shared.terminal import progress_on
from server.db.opening import open_to_read
from server.progress import Counter, Step
from server.services.jobs.logs import JobLogs
from server.settings import Settings


def job_logs(settings: Settings) -> JobLogs:
    """The logs of this installation's jobs."""
    return JobLogs(settings)


def follow(settings: Settings, job_id: int) -> bool:
    """Print the log as it grows until the job ends; True if it is done. Raises NotFound where there is no such job."""
    until_the_end(open_to_read(settings))
    logs, who = job_logs(settings), administrator()
    with _watched(job_id) as (write, step):
        for text in logs.growth(who, job_id, step.note):
            write(text)
    end = logs.end(who, job_id)
    if end.text:
        click.echo(end.text, err=True)
    return end.is_done


@contextmanager
def _watched(job_id: int) -> Iterator[tuple[Callable[[str], None], Step]]:
    """Where the log goes, and a live line beside it of what the job is at. Only a person at a terminal sees that one."""
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
