"""Commands about the queue, for who looks after an installation: what waits and why, maintenance, priorities."""

import json
import time
from dataclasses import asdict, dataclass

import click

from programs.errors import login
from server.catalog.flavors import read_flavors
from server.commands.console import (
    JOB,
    PATIENCE_S,
    TEXT,
    find_job,
    local_time,
    open_rows,
    open_rows_to_change,
    progress_on_stderr,
    show_table,
)
from server.errors import InvalidInput
from server.installation import nudge
from server.jobs.breaker import Breaker, read_breaker
from server.jobs.scheduler import Rules, admit, rank
from server.jobs.switches import drain as drain_queue
from server.jobs.switches import resume as resume_queue
from server.jobs.switches import why_drained
from server.models import Change, Job, living_workers, note, unfinished_jobs
from server.progress import Step
from server.states import AT_WORK, JobState, WorkerState

LOOK_S = 0.5


@dataclass(frozen=True)
class Place:
    """A waiting job and why it waits."""

    job: int
    owner: str
    weight: int
    priority: int
    waited_s: float
    why: str


@click.command()
@click.option("--reason", type=TEXT, default="", help="Told to whoever asks.")
@click.option("--wait", is_flag=True, help="Return when no job is at work any more.")
def drain(reason: str, wait: bool) -> None:
    """Begin no more jobs, for maintenance; those at work go on, new ones are taken and wait. See resume."""
    settings = open_rows_to_change()
    drain_queue(reason, Change(time.time(), who=login()))
    nudge(settings.home)
    click.echo(f"no more jobs are begun: {why_drained()}")
    if wait:
        with progress_on_stderr(PATIENCE_S).step("Waiting for the jobs at work", "jobs") as step:
            _await_jobs(step)


@click.command()
def resume() -> None:
    """Begin jobs again."""
    settings = open_rows_to_change()
    resume_queue(Change(time.time(), who=login()))
    nudge(settings.home)
    click.echo("jobs are begun again")


@click.command()
@click.argument("job_id", type=JOB)
@click.argument("number", type=click.IntRange(-100, 100))
def priority(job_id: int, number: int) -> None:
    """Give a waiting job the priority NUMBER: higher goes first, 0 is usual. (Before a negative one: --.)"""
    settings = open_rows_to_change()
    waiting = (Job.id == job_id) & Job.state.in_((JobState.UPLOADING, JobState.QUEUED))
    if not Job.update(priority=number).where(waiting).execute():
        raise InvalidInput(f"job {job_id} does not wait any more: it is {find_job(job_id).state}", field="job_id")
    note(Job, job_id, Change(time.time(), who=login(), text=f"priority {number}"))
    nudge(settings.home)
    click.echo(f"job {job_id} has priority {number}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def queue(as_json: bool) -> None:
    """Show what waits, in the order in which it would begin, and why it waits."""
    settings = open_rows()
    rules = Rules(read_flavors(settings.flavors).max_weight, settings.priority_ageing_s, settings.backfill_limit_s)
    used = sum(worker.weight for worker in living_workers())
    breaker, drained, places = read_breaker(), why_drained(), _places(rules, time.time())
    if as_json:
        found = {"drained": drained, "breaker": asdict(breaker), "used": used, "limit": rules.limit}
        click.echo(json.dumps({**found, "waiting": [asdict(place) for place in places]}, indent=1))
        return
    click.echo(f"weight {used} of {rules.limit} is at work")
    if drained:
        click.echo(f"no more jobs are begun: {drained} (`cumulus resume` ends that)")
    if breaker.is_open:
        click.echo(_told(breaker))
    if places:
        show_table(("job", "owner", "weight", "priority", "waits", "why"), map(_cells, places))


def _await_jobs(step: Step) -> None:
    at_first = 0
    while left := sum(job.state in AT_WORK for job in unfinished_jobs()):
        at_first = max(at_first, left)
        step.advance(at_first - left, at_first)
        time.sleep(LOOK_S)
    step.advance(at_first)


def _cells(one: Place) -> tuple[str, ...]:
    return str(one.job), one.owner, str(one.weight), str(one.priority), f"{one.waited_s:.0f} s", one.why


def _told(breaker: Breaker) -> str:
    when = f"job {breaker.trying} is the try" if breaker.trying else f"the next try is at {local_time(breaker.try_at)}"
    return f"no machine could be made {breaker.failures} times in a row, {when}: {breaker.text}"


def _places(rules: Rules, now: float) -> list[Place]:
    jobs, workers = unfinished_jobs(), living_workers()
    owners = {job.id: job.owner for job in jobs}
    at_work: dict[str, int] = {}
    for worker in workers:
        owner = owners.get(worker.job_id or 0, "")
        at_work[owner] = at_work.get(owner, 0) + worker.weight
    used = sum(worker.weight for worker in workers)
    occupied = {worker.job_id for worker in workers if worker.state != WorkerState.HELD}
    waiting = sorted((job for job in jobs if job.state == JobState.QUEUED), key=lambda job: rank(job, at_work, rules, now))
    ready = {job.id for job in admit(waiting, at_work, used, rules, now, must_wait=lambda _: False)}
    return [_place(job, rules, now, occupied=job.id in occupied, ready=job.id in ready) for job in waiting]


def _place(job: Job, rules: Rules, now: float, *, occupied: bool, ready: bool) -> Place:
    if job.weight > rules.limit:
        why = f"it is heavier than the limit of {rules.limit}"
    elif occupied:
        why = "its former machine is not gone yet"
    elif job.not_before > now:
        why = f"tried again at {local_time(job.not_before)}: {job.message}"
    elif ready:
        why = "it is next, or waits for a file that another job converts"
    else:
        why = "the weight limit is reached"
    return Place(job.id, job.owner, job.weight, job.priority, now - job.state_since, why)
