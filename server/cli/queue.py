"""Commands about the queue, for who looks after an installation: what waits and why, maintenance, priorities."""

import time

import click

from server.cli.shared.arguments import JOB, TEXT, as_json_option
from server.cli.shared.opening import administrator, open_rows, open_rows_to_change
from server.cli.shared.output import PATIENCE_S, progress_on_stderr, show_json, show_table
from server.policy.circuit_breaker import Breaker
from server.progress import Step
from server.services.queue import Place, QueueService, queue_json
from server.services.times import local_time
from server.settings import Settings

LOOK_S = 0.5
SHOWN = 10  # numbers of jobs


@click.command()
@click.option("--reason", type=TEXT, default="", help="Told to whoever asks.")
@click.option("--wait", is_flag=True, help="Return when no job is at work any more.")
def drain(reason: str, wait: bool) -> None:
    """Begin no more jobs, for maintenance; those at work go on, new ones are taken and wait. See resume.

    Example: cumulus drain --reason "new disks until noon" --wait
    """
    service = _service(open_rows_to_change())
    click.echo(f"no more jobs are begun: {service.drain(administrator(), reason)}")
    if wait:
        with progress_on_stderr(PATIENCE_S).step("Waiting for the jobs at work", "jobs") as step:
            _await_jobs(service, step)


@click.command()
def resume() -> None:
    """Begin jobs again."""
    _service(open_rows_to_change()).resume(administrator())
    click.echo("jobs are begun again")


@click.command()
@click.argument("job_id", type=JOB)
@click.argument("number", type=click.IntRange(-100, 100))
def priority(job_id: int, number: int) -> None:
    """Give a waiting job the priority NUMBER: higher goes first, 0 is usual. (Before a negative one: --.)

    Examples: cumulus priority 17 10; cumulus priority 17 -- -10
    """
    _service(open_rows_to_change()).set_priority(administrator(), job_id, number)
    click.echo(f"job {job_id} has priority {number}")


@click.command()
@as_json_option
def queue(as_json: bool) -> None:
    """Show what waits, in the order in which it would begin, and why it waits."""
    found = _service(open_rows()).view(administrator())
    if as_json:
        show_json(queue_json(found))
        return
    click.echo(f"weight {found.used} of {found.limit} is at work")
    if not found.is_run:
        click.echo("no controller runs: nothing begins until one does (`cumulus serve`)")
    if found.drained:
        click.echo(f"no more jobs are begun: {found.drained} (`cumulus resume` ends that)")
    if found.breaker.is_open:
        click.echo(_told(found.breaker))
    if found.waiting:
        show_table(("job", "owner", "weight", "priority", "waits", "why"), map(_cells, found.waiting))
    if found.uploading:
        shown = ", ".join(map(str, found.uploading[:SHOWN])) + ", …" * (len(found.uploading) > SHOWN)
        click.echo(f"{len(found.uploading)} wait for their input files, or for the job before: {shown}")
    if not found.waiting and not found.uploading:
        click.echo("no job waits")


def _service(settings: Settings) -> QueueService:
    return QueueService(settings)


def _await_jobs(service: QueueService, step: Step) -> None:
    at_first = 0
    while left := service.at_work():
        at_first = max(at_first, left)
        step.advance(at_first - left, at_first)
        time.sleep(LOOK_S)
    step.advance(at_first)


def _cells(one: Place) -> tuple[str, ...]:
    return str(one.job), one.owner, str(one.weight), str(one.priority), f"{one.waited_s:.0f} s", one.why


def _told(breaker: Breaker) -> str:
    when = f"job {breaker.trying} is the try" if breaker.trying else f"the next try is at {local_time(breaker.try_at)}"
    told = f"no machine could be made {breaker.failures} times in a row, {when}: {breaker.text}"
    return f"{told}\nwhose matter: {breaker.why.blame}. {breaker.why.advice}" if breaker.why else told
