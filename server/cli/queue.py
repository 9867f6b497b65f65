"""Commands about the queue, for who looks after an installation: what waits and why, maintenance, priorities."""

import json
import time
from dataclasses import asdict
from typing import Any

import click

from programs.errors import login
from server.catalog.flavors import read_flavors
from server.cli.shared.console import (
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
from server.db.models import Job
from server.db.queries import living_workers, unfinished_jobs
from server.db.settings_store import drain as drain_queue
from server.db.settings_store import resume as resume_queue
from server.db.settings_store import why_drained
from server.db.transitions import Change, record_event
from server.engine.breaker import known_breaker
from server.engine.launching.conversion_cache import ConversionCache
from server.errors import InvalidInput
from server.home.running import nudge, running_controller
from server.policy.circuit_breaker import Breaker
from server.policy.scheduling import Rules
from server.progress import Step
from server.services.queue import Place, Situation, places
from server.settings import Settings
from server.states import AT_WORK, JobState
from server.storage.folders import Storage

LOOK_S = 0.5
SHOWN = 10  # numbers of jobs


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
    record_event(Job, job_id, Change(time.time(), who=login(), text=f"priority {number}"))
    nudge(settings.home)
    click.echo(f"job {job_id} has priority {number}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def queue(as_json: bool) -> None:
    """Show what waits, in the order in which it would begin, and why it waits."""
    settings = open_rows()
    found = _situation(settings, time.time())
    used, breaker = sum(worker.weight for worker in found.workers), found.breaker
    uploading = sorted(job.id for job in found.jobs if job.state == JobState.UPLOADING)
    is_run = running_controller(settings.home) is not None
    if as_json:
        told = {"drained": found.drained, "breaker": _breaker(breaker), "used": used, "limit": found.rules.limit}
        waiting = [asdict(place) for place in places(found)]
        click.echo(json.dumps({**told, "controller": is_run, "waiting": waiting, "uploading": uploading}, indent=1))
        return
    click.echo(f"weight {used} of {found.rules.limit} is at work")
    if not is_run:
        click.echo("no controller runs: nothing begins until one does (`cumulus serve`)")
    if found.drained:
        click.echo(f"no more jobs are begun: {found.drained} (`cumulus resume` ends that)")
    if breaker.is_open:
        click.echo(_told(breaker))
    if waits := places(found):
        show_table(("job", "owner", "weight", "priority", "waits", "why"), map(_cells, waits))
    if uploading:
        shown = ", ".join(map(str, uploading[:SHOWN])) + ", …" * (len(uploading) > SHOWN)
        click.echo(f"{len(uploading)} wait for their input files, or for the job before: {shown}")


def _situation(settings: Settings, now: float) -> Situation:
    rules = Rules(read_flavors(settings.flavors).max_weight, settings.priority_ageing_s, settings.backfill_limit_s)
    reuse = ConversionCache(Storage(settings.storage), settings.conversion_wait_s)
    return Situation(
        jobs=unfinished_jobs(),
        workers=living_workers(),
        rules=rules,
        drained=why_drained(),
        breaker=known_breaker(),
        now=now,
        makers=lambda job_id: reuse.makers(job_id, now),
        at=local_time,
    )


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
    told = f"no machine could be made {breaker.failures} times in a row, {when}: {breaker.text}"
    return f"{told}\nwhose matter: {breaker.why.blame}. {breaker.why.advice}" if breaker.why else told


def _breaker(breaker: Breaker) -> dict[str, Any]:
    why = breaker.why
    more = {"open": breaker.is_open, "blame": str(why.blame) if why else "", "advice": why.advice if why else ""}
    return {**asdict(breaker), **more}
