"""``cumulus record`` and ``cumulus rerun``: what a run was made of, and the same once more."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from cumulus_client.client import Cumulus
from cumulus_client.records import Comparison, RerunPlace, RerunPlan
from programs.exits import ExitCode
from programs.interruption import shielded
from server.cli.shared.arguments import JOB, TEXT
from server.cli.shared.backend import opened
from server.cli.shared.connection import cancelled_on_failure, known_settings, may_deliver, send, taking_jobs
from server.cli.shared.following import follow
from server.cli.shared.inputs import Prepared
from server.cli.shared.output import PATIENCE_S, asking_the_cloud, printable, progress_on_stderr, show_json, show_table
from server.engine.records.record import JobRecord, to_text
from server.progress import MB
from server.services.records.rerun import Place, Wanted, gathered
from server.services.times import local_time
from server.states import JobState
from server.storage.inputs.checksums import content_sha256

SAME = "same"
DIGITS = 16  # of a checksum that people read


@click.command()
@click.argument("job_id", type=JOB, metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="For programs: all of job.json.")
@click.option(
    "--compare", "other", type=JOB, metavar="JOB", help="Say what differs from that job; exit code 1 if the results do."
)
def record(job_id: int, as_json: bool, other: int | None) -> None:
    """Print the record of a job: app, program, snapshot, command, settings, inputs, conversions, results, attempts.

    Example: cumulus record 13 --compare 12
    """
    records = opened().records
    if other is not None:
        compared = records.compare(job_id, other)
        _show_comparison(other, compared, as_json=as_json)
        sys.exit(ExitCode.OK if compared.results.verdict == SAME else ExitCode.FAILED)
    found = JobRecord.model_validate(records.get(job_id))
    if as_json:
        click.echo(to_text(found), nl=False)
        return
    for line in _lines(found):
        click.echo(printable(line))
    _tables(found)


@click.command()
@click.argument("job_id", type=JOB, metavar="JOB")
@click.option("--flavor", type=TEXT, help="Machine size; default: the job's.")
@click.option("--owner", type=TEXT, help="Default: the job's.")
@click.option(
    "--wait",
    "--follow",
    "wait",
    is_flag=True,
    help="Show the log until it ends, then compare: exit code 3 if it fails, 1 if results differ.",
)
def rerun(job_id: int, flavor: str | None, owner: str | None, wait: bool) -> None:
    """Submit JOB once more, with its settings and the files that it has read, and say what differs now; prints the new number.

    A file is taken from the job's own input, else from the shared data, and only with the checksum that was recorded.

    Example: cumulus rerun 12 --wait
    """
    settings = known_settings()
    cumulus = taking_jobs(settings)
    with asking_the_cloud():
        plan = cumulus.records.plan(job_id, flavor or "")
    prepared = _with_files(job_id, plan) if may_deliver(settings) else None
    for text in (*plan.remarks, *map(str, plan.differences)):
        click.echo(printable(text), err=True)
    if prepared is None:  # the storage is not at hand: the controller takes the files from where they are
        submitted = cumulus.submissions.rerun(job_id, plan.flavor, owner or plan.owner)
    else:
        fields = {"flavor": plan.flavor, "description": plan.description, "owner": owner or plan.owner}
        with shielded() as shield:  # a job that was taken is cancelled, whenever the signal comes
            submitted = cumulus.submissions.submit(plan.app, plan.settings, **fields)
            with cancelled_on_failure(cumulus, submitted), shield.lowered():
                send(settings, cumulus, submitted, prepared)
    click.echo(submitted.id)
    if wait:
        _wait(cumulus, job_id, submitted.id)


@click.command()
@click.argument("job_id", type=JOB, metavar="JOB")
@click.option("--wait", "--follow", "wait", is_flag=True, help="Show the log until it ends; exit code 3 if it fails.")
def retry(job_id: int, wait: bool) -> None:
    """Run JOB, which failed or was cancelled, once more: a new job with its settings and the files that it has kept.

    A step of a workflow runs alone, and the steps after it are not retried. Prints the new number.

    Example: cumulus retry 12 --wait
    """
    cumulus = taking_jobs(known_settings())
    submitted = cumulus.submissions.retry(job_id)
    click.echo(submitted.id)
    if wait and not follow(cumulus, submitted.id):
        sys.exit(ExitCode.JOB_FAILED)


def _with_files(job_id: int, plan: RerunPlan) -> Prepared:
    """The form with the files that the job has read, each where it is now. Raises InvalidInput."""
    wanted = [
        Wanted(one.name, one.shared, one.sha256, tuple(map(_place, one.places)), one.missing, one.changed) for one in plan.files
    ]
    with progress_on_stderr(PATIENCE_S).step(f"Reading the files of job {job_id}", "MB") as step:
        read = 0.0

        def heard(size: int) -> None:
            nonlocal read
            read += size / MB
            step.advance(read)

        shared, local = gathered(wanted, lambda path: content_sha256(path, heard))
    return Prepared(plan.settings, shared, local)


def _place(one: RerunPlace) -> Place:
    return Place(Path(one.path), one.is_own)


def _wait(cumulus: Cumulus, before: int, job_id: int) -> None:
    if not follow(cumulus, job_id):
        sys.exit(ExitCode.JOB_FAILED)
    compared = cumulus.records.compare(job_id, before)
    for text in (*map(str, compared.differences), compared.summary):
        click.echo(printable(text), err=True)
    if compared.results.verdict != SAME:
        sys.exit(ExitCode.FAILED)


def _show_comparison(other: int, found: Comparison, *, as_json: bool) -> None:
    if as_json:
        show_json(found.model_dump(exclude={"summary"}))
        return
    same = f"nothing that is known differs from job {other}; {found.summary}"
    for text in (*map(str, found.differences), found.summary if found.differences else same):
        click.echo(printable(text))


def _lines(found: JobRecord) -> Iterator[str]:
    ended = found.outcome if found.state in ("", JobState.ARCHIVED) else found.state
    yield f"job        {found.id} of {found.owner}: {ended}{f' ({found.reason})' if found.reason else ''}"
    for name, text in (("message", found.message), ("about", found.description), ("workflow", found.workflow)):
        if text:
            yield f"{name:10} {text}"
    yield from (f"warning    {text}" for text in found.warnings)
    changed = "; changed between submission and run" if found.app.changed else ""
    yield f"app        {found.app.id}, SHA-256 of its XML {found.app.sha256 or 'not recorded'}{changed}"
    yield f"program    {found.program or 'not recorded'}"
    yield f"machine    {', '.join(_machine(found)) or 'none'}"
    yield f"Cumulus    {found.controller.version}"
    for name in ("created", "queued", "started", "ended"):
        at = getattr(found, name)
        yield f"{name:10} {local_time(at) if at else '-'}"
    yield f"command    {found.command or 'none yet'}"


def _machine(found: JobRecord) -> Iterator[str]:
    flavor, machine = found.flavor, found.machine
    if found.cloud:
        yield f"{found.cloud}, snapshot {found.snapshot or 'not known'}"
    yield f"{flavor.name} ({flavor.cpus} CPUs, {flavor.memory_gb} GB)" if flavor.cpus else flavor.name
    if machine.host:
        yield f"{machine.host}: {machine.cpus or '?'} CPUs, {machine.memory_mb or '?'} MB, {machine.kernel}"


def _tables(found: JobRecord) -> None:
    _table("figures", ("figure", "value", "file"), ((one.label or one.name, one.value, one.file) for one in found.figures))
    _table("settings", ("field", "value"), ((name, _shown(value)) for name, value in found.settings.items()))
    inputs = ((one.name, _origin(one.origin, one.job), one.size, one.sha256[:DIGITS], one.spectra) for one in found.inputs)
    _table("inputs", ("input", "came from", "bytes", "SHA-256", "spectra"), inputs)
    conversions = ((one.source, one.target, one.version, one.command) for one in found.conversions)
    _table("conversions", ("source", "became", "converter", "command"), conversions)
    _table("files", ("file", "outcome", "message"), ((one.name, one.outcome, one.message) for one in found.files))
    _table("results", ("result", "bytes", "SHA-256"), ((one.path, one.size, one.sha256[:DIGITS]) for one in found.results))
    attempts = (
        (
            one.number,
            one.worker,
            one.snapshot,
            _time(one.began),
            _time(one.ended),
            one.outcome,
            f"{one.reason} {one.text}".strip(),
        )
        for one in found.attempts
    )
    _table("attempts", ("attempt", "machine", "snapshot", "began", "ended", "then", "why"), attempts)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if cells:
        click.echo(f"\n{title}")
        show_table(columns, cells)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(at: float | None) -> str:
    return local_time(at) if at else ""


def _origin(origin: str, job: int | None) -> str:
    words = {"sent": "sent", "shared": "the shared data", "converted": "a former job's conversion"}
    return words.get(origin, f"job {job}" if job else "an earlier step")
