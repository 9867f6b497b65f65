"""From a job's settings to the orders that its runner finds in the job folder: command, config file, input plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from server.catalog.apps import App, Catalog
from server.catalog.command import Rendered, Variables, render, render_each
from server.catalog.flavors import Flavor
from server.catalog.values import InputFile, input_files
from server.jobs.reuse import Reuse
from server.jobs.submission import parse_settings
from server.models import Job
from server.storage.folders import JobFolder, Plan, PlannedInput, PlannedRun
from server.workers.clouds.base import Layout


@dataclass(frozen=True)
class Limits:
    """What a machine and its programs are held to; 0: no limit.

    ``lease_s``: seconds without a word from the controller; ``stall_timeout_s``: without a sign of life of a program;
    ``max_tasks``: processes and threads of one program.
    """

    lease_s: float
    stall_timeout_s: float
    max_tasks: int


def write_orders(
    job: Job, worker: str, flavor: Flavor, layout: Layout, catalog: Catalog, folder: JobFolder, reuse: Reuse, limits: Limits
) -> None:
    """Render the job for the machine it got.

    Raises InvalidInput, NotFound where app or settings do not serve any more.
    """
    app = catalog.get(job.app)
    settings = parse_settings(job.settings)
    variables = variables_for(flavor, layout)
    runs = render_each(app, settings, variables)
    inputs = reuse.plan(job.id, input_files(app, settings), folder)
    plan = replace(_plan(job, worker, flavor, app, inputs, limits), runs=tuple(map(_run, runs)))
    plan = replace(plan, summary_command=app.findings.summary_command.fill(variables.texts))
    rendered = runs or [render(app, settings, variables)]
    folder.write_plan(plan, _readable(rendered), *_configs(rendered))


def _run(rendered: Rendered) -> PlannedRun:
    assert rendered.file is not None
    return PlannedRun(rendered.file.name, rendered.file.target, rendered.command)


def _readable(rendered: Sequence[Rendered]) -> str:
    """What is run, for whoever looks into the folder: several commands with the file of each."""
    if len(rendered) == 1:
        return rendered[0].command
    return "\n\n".join(f"# {one.file.name if one.file else ''}\n{one.command}" for one in rendered)


def _configs(rendered: Sequence[Rendered]) -> list[tuple[str, str]]:
    """Suffix and text of the config files: of the one run, or numbered as the runs are."""
    return [
        (f"{number}.{one.config_format}" if one.file else str(one.config_format), one.config)
        for number, one in enumerate(rendered, 1)
        if one.config is not None
    ]


def variables_for(flavor: Flavor, layout: Layout) -> Variables:
    """What the ``%…%`` variables of an app stand for on a machine of this flavor; one CPU is left to the system."""
    return Variables(
        threads=max(1, flavor.cpus - 1),
        input_dir=f"{layout.work_dir}/input",
        output_dir=f"{layout.work_dir}/output",
        config_file=f"{layout.job_dir}/.cumulus.settings",
    )


def missing_inputs(files: Iterable[InputFile], data: Path, folder: JobFolder) -> list[str]:
    """Names of input files that are not where they should have arrived."""
    roots = {True: data, False: folder.input}
    return [file.name for file in files if not (roots[file.shared] / file.name).exists()]


def _plan(job: Job, worker: str, flavor: Flavor, app: App, inputs: tuple[PlannedInput, ...], limits: Limits) -> Plan:
    findings = app.findings
    return Plan(
        job_id=job.id,
        attempt=job.attempt,
        worker=worker,
        cpus=flavor.cpus,
        inputs=inputs,
        end_tag=app.end_tag or None,
        end_tag_location=app.end_tag_location or None,
        lease_s=limits.lease_s,
        app=app.name,
        stall_timeout_s=limits.stall_timeout_s if app.stall_timeout_s is None else app.stall_timeout_s,
        max_tasks=limits.max_tasks,
        input_error_codes=findings.input_error_codes,
        input_error=findings.input_error,
        summary=findings.summary,
        warn_if_zero=findings.warn_if_zero,
    )
