"""``cumulus record`` and ``cumulus rerun``: what a run was made of, and the same once more."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from programs.exits import ExitCode
from programs.interruption import shielded
from server.cli.shared.arguments import JOB, TEXT
from server.cli.shared.connection import cancelled_on_failure, client, send
from server.cli.shared.following import follow
from server.cli.shared.inputs import Prepared, labelled
from server.cli.shared.opening import administrator, open_rows
from server.cli.shared.output import PATIENCE_S, asking_the_cloud, printable, progress_on_stderr, show_json, show_table
from server.engine.records.record import JobRecord, to_text
from server.errors import InvalidInput
from server.services.records.comparison import differences
from server.services.records.service import Comparison, RecordService, comparison_json
from server.services.times import local_time
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage
from server.workers.clouds.registry import known_cloud

DIGITS = 16  # of a checksum that people read


@click.command()
@click.argument("job_id", type=JOB, metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="For programs: all of job.json.")
@click.option(
    "--compare", "other", type=JOB, metavar="JOB", help="Say what differs from that job; exit code 1 if the results do."
)
def record(job_id: int, as_json: bool, other: int | None) -> None:
    """Print the record of a job: app, program, snapshot, command, settings, inputs, conversions, results, attempts."""
    service, who = RecordService(open_rows()), administrator()
    found = service.record(who, job_id)
    if other is not None:
        compared = service.compared(service.record(who, other), found, progress_on_stderr(PATIENCE_S))
        _tell_comparison(other, compared, as_json=as_json)
        sys.exit(ExitCode.OK if compared.is_same else ExitCode.FAILED)
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
    "--wait", is_flag=True, help="Show the log until it ends, then compare: exit code 3 if it fails, 1 if results differ."
)
def rerun(job_id: int, flavor: str | None, owner: str | None, wait: bool) -> None:
    """Submit JOB once more, with its settings and the files that it has read, and say what differs now; prints the new number.

    A file is taken from the job's own input, else from the shared data, and only with the checksum that was recorded.
    """
    settings = open_rows()
    service, who, progress = RecordService(settings), administrator(), progress_on_stderr(PATIENCE_S)
    controller, before = client(settings), service.record(who, job_id)
    app = service.app_of(before)
    try:
        made = service.again(who, app, before, progress)
    except InvalidInput as error:
        raise labelled(app, error) from None
    size = flavor or before.flavor.name
    service.flavor(size)
    with asking_the_cloud():
        now = service.as_of_today(before, made, size, known_cloud(settings), str(controller.health().get("version", "")))
    for text in (*made.remarks, *map(str, differences(before, now))):
        click.echo(printable(text), err=True)
    with shielded() as shield:  # a job that was taken is cancelled, whenever the signal comes
        of_whom = owner or before.owner
        started = controller.start(of_whom, app.id, size, made.settings, before.description)
        with cancelled_on_failure(controller, of_whom, started), shield.lowered():
            send(Storage(settings.storage), started, Prepared(made.settings, made.shared, made.local))
    click.echo(started.job_id)
    if wait:
        _wait(service, settings, before, started.job_id)


def _wait(service: RecordService, settings: Settings, before: JobRecord, job_id: int) -> None:
    if not follow(settings, job_id):
        sys.exit(ExitCode.JOB_FAILED)
    compared = service.compared(before, service.record(administrator(), job_id), progress_on_stderr(PATIENCE_S))
    for text in (*map(str, compared.differences), str(compared.results)):
        click.echo(printable(text), err=True)
    if not compared.is_same:
        sys.exit(ExitCode.FAILED)


def _tell_comparison(other: int, found: Comparison, *, as_json: bool) -> None:
    if as_json:
        show_json(comparison_json(found))
        return
    same = f"nothing that is known differs from job {other}; {found.results}"
    for text in (*map(str, found.differences), str(found.results) if found.differences else same):
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
