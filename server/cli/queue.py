"""Commands about the queue, for who looks after an installation: what waits and why, maintenance, priorities."""

import time
from typing import TYPE_CHECKING

import click

from cumulus_client.queue import HIGHEST_PRIORITY, MAX_REASON
from server.cli.shared.arguments import JOB, TEXT, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.output import PATIENCE_S, progress_on_stderr, show_json, show_table
from server.services.times import local_time

if TYPE_CHECKING:
    from cumulus_client.queue import CircuitBreaker, Queue, WaitingJob
    from server.progress import Step

ASK_S = 0.5
SHOWN = 10  # numbers of jobs


@click.command()
@click.option("--reason", type=TEXT, default="", help=f"Shown to whoever asks; {MAX_REASON} characters at most.")
@click.option("--wait", is_flag=True, help="Return when no job is at work any more.")
def drain(reason: str, wait: bool) -> None:
    """Begin no more jobs, for maintenance; those at work go on, new ones are taken and wait. See resume.

    Example: cumulus drain --reason "new disks until noon" --wait
    """
    if len(reason) > MAX_REASON:
        raise click.UsageError(f"the reason may have {MAX_REASON} characters")
    queue = opened(to_change=True).queue
    click.echo(f"no more jobs are begun: {queue.drain(reason).reason}")
    if wait:
        with progress_on_stderr(PATIENCE_S).step("Waiting for the jobs at work", "jobs") as step:
            _await_jobs(queue, step)


@click.command()
def resume() -> None:
    """Begin jobs again.

    Example: cumulus resume
    """
    click.echo(opened(to_change=True).queue.resume())


@click.command()
@click.argument("job_id", type=JOB)
@click.argument("number", type=click.IntRange(-HIGHEST_PRIORITY, HIGHEST_PRIORITY))
def priority(job_id: int, number: int) -> None:
    """Give a waiting job the priority NUMBER: a higher one begins first, 0 is usual. (Before a negative one: --.)

    Examples: cumulus priority 17 10; cumulus priority 17 -- -10
    """
    click.echo(opened(to_change=True).queue.prioritize(job_id, number))


@click.command()
@as_json_option
def queue(as_json: bool) -> None:
    """Show what waits, in the order in which it would begin, and why it waits.

    Example: cumulus queue
    """
    found = opened().queue.get()
    if as_json:
        show_json(found.model_dump())
        return
    click.echo(f"weight {found.used} of {found.limit} is at work")
    if not found.controller:
        click.echo("no controller runs: nothing begins until one does (`cumulus serve`)")
    if found.drained:
        click.echo(f"no more jobs are begun: {found.drained} (`cumulus resume` ends that)")
    if found.breaker.open:
        click.echo(_described(found.breaker))
    if found.waiting:
        show_table(("job", "owner", "weight", "priority", "waits", "why"), map(_cells, found.waiting))
    if found.uploading:
        shown = ", ".join(map(str, found.uploading[:SHOWN])) + ", …" * (len(found.uploading) > SHOWN)
        click.echo(f"{len(found.uploading)} wait for their input files, or for the job before: {shown}")
    if not found.waiting and not found.uploading:
        click.echo("no job waits")


def _await_jobs(queue: "Queue", step: "Step") -> None:
    at_first = 0
    while left := queue.drained().at_work:
        at_first = max(at_first, left)
        step.advance(at_first - left, at_first)
        time.sleep(ASK_S)
    step.advance(at_first)


def _cells(one: "WaitingJob") -> tuple[str, ...]:
    return str(one.job), one.owner, str(one.weight), str(one.priority), f"{one.waited_s:.0f} s", one.why


def _described(breaker: "CircuitBreaker") -> str:
    when = f"job {breaker.trying} is the try" if breaker.trying else f"the next try is at {local_time(breaker.try_at)}"
    text = f"no machine could be made {breaker.failures} times in a row, {when}: {breaker.text}"
    return f"{text}\nwho can fix it: {breaker.blame}. {breaker.advice}" if breaker.blame else text
