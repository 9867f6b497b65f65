"""``cumulus record`` and ``cumulus rerun``: what a run was made of, and the same once more."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from programs.exits import ExitCode
from programs.interruption import shielded
from server.catalog.apps import Catalog
from server.catalog.flavors import read_flavors
from server.catalog.model import App
from server.cli.shared.connection import cancelled_on_failure, client, follow, send
from server.cli.shared.console import (
    JOB,
    PATIENCE_S,
    TEXT,
    asking_the_cloud,
    find_job,
    local_time,
    open_rows,
    printable,
    progress_on_stderr,
    show_table,
)
from server.cli.shared.inputs import Prepared, labelled
from server.db.models import Job, known_job
from server.engine.installed_apps import InstalledApps
from server.engine.records.record import JobRecord, RecordedApp, RecordedController, RecordedFlavor, RecordedResult, to_text
from server.engine.records.recording import assembled
from server.errors import CumulusError, InvalidInput, NotFound
from server.progress import MB
from server.services.record_comparison import Difference, Results, compare_results, differences
from server.services.rerun import Rerun, again
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.checksums import content_sha256
from server.storage.paths import inside
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
    settings = open_rows()
    found = _record_of(find_job(job_id), settings)
    if other is not None:
        before = _record_of(find_job(other), settings)
        changes, results = differences(before, found), _compared(before, found, settings)
        _tell_comparison(other, changes, results, as_json=as_json)
        sys.exit(ExitCode.OK if results.verdict == "same" else ExitCode.FAILED)
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
    controller, job, storage = client(settings), find_job(job_id), Storage(settings.storage)
    before = _record_of(job, settings)
    catalog = Catalog(settings.apps)
    app = _app(catalog, before)
    made = _again(app, before, job, storage)
    size = flavor or before.flavor.name
    now = _as_of_today(before, app, catalog, made, _flavor(size, settings), settings)
    now = now.model_copy(update={"controller": RecordedController(version=str(controller.health().get("version", "")))})
    for text in (*made.remarks, *map(str, differences(before, now))):
        click.echo(printable(text), err=True)
    with shielded() as shield:  # a job that was taken is cancelled, whenever the signal comes
        who = owner or before.owner
        started = controller.start(who, app.id, size, made.settings, before.description)
        with cancelled_on_failure(controller, who, started), shield.lowered():
            send(storage, started, Prepared(made.settings, made.shared, made.local))
    click.echo(started.job_id)
    if wait:
        _wait(settings, before, started.job_id)


def _wait(settings: Settings, before: JobRecord, job_id: int) -> None:
    if not follow(settings, job_id):
        sys.exit(ExitCode.JOB_FAILED)
    found = _record_of(find_job(job_id), settings)
    results = _compared(before, found, settings)
    for text in (*map(str, differences(before, found)), str(results)):
        click.echo(printable(text), err=True)
    if results.verdict != "same":
        sys.exit(ExitCode.FAILED)


def _record_of(job: Job, settings: Settings) -> JobRecord:
    return assembled(job, Storage(settings.storage).folder(job.folder))


def _app(catalog: Catalog, before: JobRecord) -> App:
    try:
        return catalog.get(before.app.id)
    except NotFound:
        text = f"job {before.id} has run the app {before.app.id}, which is no longer offered"
        raise NotFound(text, field="app_name") from None


def _flavor(name: str, settings: Settings) -> RecordedFlavor:
    found = read_flavors(settings.flavors).get(name)
    if found is None:
        raise InvalidInput(f"the machine size {name} is no longer offered: choose another with --flavor", field="strategy")
    return RecordedFlavor(name=name, cpus=found.cpus, memory_gb=found.memory_gb)


def _again(app: App, before: JobRecord, job: Job, storage: Storage) -> Rerun:
    def folder_of(number: int) -> JobFolder | None:
        row = known_job(number)
        return None if row is None else storage.folder(row.folder)

    with progress_on_stderr(PATIENCE_S).step(f"Reading the files of job {before.id}", "MB") as step:
        read = 0.0

        def heard(size: int) -> None:
            nonlocal read
            read += size / MB
            step.advance(read)

        try:
            return again(
                app, before, storage.folder(job.folder), storage.data, folder_of, lambda path: content_sha256(path, heard)
            )
        except InvalidInput as error:
            raise labelled(app, error) from None


def _as_of_today(
    before: JobRecord, app: App, catalog: Catalog, made: Rerun, flavor: RecordedFlavor, settings: Settings
) -> JobRecord:
    """What the record of the new job will say, as far as that is known before it runs."""
    cloud = known_cloud(settings)
    with asking_the_cloud():
        program = InstalledApps(catalog, cloud).version(app) or ""
        try:
            snapshot = cloud.images.current()
        except CumulusError:
            snapshot = ""
    update = {
        "app": RecordedApp(id=app.id, name=app.name, version=app.version, sha256=catalog.checksum(app.id)),
        "program": program,
        "snapshot": snapshot,
        "cloud": str(settings.cloud),
        "flavor": flavor if before.flavor.cpus else RecordedFlavor(name=flavor.name),
        "settings": made.settings,
    }
    return before.model_copy(update=update)


def _compared(before: JobRecord, now: JobRecord, settings: Settings) -> Results:
    """The results of both; where a checksum was not recorded, that of the file that is there."""
    return compare_results(*(_with_checksums(one, settings) for one in (before, now)))


def _with_checksums(found: JobRecord, settings: Settings) -> Sequence[RecordedResult]:
    if all(one.sha256 for one in found.results):
        return found.results
    output = Storage(settings.storage).folder(find_job(found.id).folder).output
    with progress_on_stderr(PATIENCE_S).step(f"Reading the results of job {found.id}", "files") as step:
        read = []
        for number, one in enumerate(found.results, 1):
            read.append(one if one.sha256 else one.model_copy(update={"sha256": _checksum(output, one.path)}))
            step.advance(number, len(found.results))
    return read


def _checksum(output: Path, path: str) -> str:
    try:
        return content_sha256(inside(output, path))
    except (OSError, CumulusError):  # it is no longer kept
        return ""


def _tell_comparison(other: int, changes: list[Difference], results: Results, *, as_json: bool) -> None:
    if as_json:
        told = {"differences": [asdict(one) for one in changes], "results": {**asdict(results), "verdict": results.verdict}}
        click.echo(json.dumps(told, indent=1))
        return
    for text in (*map(str, changes), str(results) if changes else f"nothing that is known differs from job {other}; {results}"):
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
