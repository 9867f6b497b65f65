"""From a job's settings to the orders that its runner finds in the job folder: command, config file, input plan."""

from collections.abc import Sequence
from dataclasses import replace

from server.catalog.apps import App, Catalog
from server.catalog.flavors import Flavor
from server.catalog.rendering.command import Rendered, Variables, render, render_each
from server.catalog.settings_text import parse_settings
from server.catalog.values import input_files
from server.db.models import Job
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.records.recording import Learned
from server.settings import Settings
from server.storage.folders import JobFolder
from server.storage.inputs.pins import Pins
from server.storage.inputs.placing import Allowance
from server.storage.job_folder.run_plan import Plan, PlannedInput, PlannedRun
from server.workers.clouds.base import Layout

MB, GB = 1_000_000, 1_000_000_000


def write_orders(
    job: Job,
    worker: str,
    flavor: Flavor,
    layout: Layout,
    catalog: Catalog,
    folder: JobFolder,
    pins: Pins,
    reuse: ConversionCache,
    settings: Settings,
) -> Learned:
    """Render the job for the machine it got, within the installation's limits; returns what its record has to say of that.

    Raises InvalidInput, NotFound where app or settings do not serve any more, InputProblem where a pinned file was changed.
    """
    app = catalog.get(job.app)
    form = parse_settings(job.settings)
    variables = variables_for(flavor, layout)
    files = input_files(app, form)
    runs = render_each(app, form, variables)
    pinned = pins.pin(folder, files, Allowance())  # what was queued by an earlier version is pinned only now
    pins.require_unchanged(folder, pinned)
    inputs = reuse.plan(job.id, files, folder, pinned)
    plan = replace(_plan(job, worker, flavor, app, inputs, settings), runs=tuple(map(_run, runs)))
    plan = replace(plan, summary_command=app.findings.summary_command.fill(variables.texts))
    rendered = runs or [render(app, form, variables)]
    command = _readable(rendered)
    folder.instructions.write_plan(plan, command, *_configs(rendered))
    return Learned(app, catalog.checksum(app.id), files, flavor=flavor, worker=worker, command=command)


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


def _plan(job: Job, worker: str, flavor: Flavor, app: App, inputs: tuple[PlannedInput, ...], settings: Settings) -> Plan:
    findings = app.findings
    return Plan(
        job_id=job.id,
        attempt=job.attempt,
        worker=worker,
        cpus=flavor.cpus,
        inputs=inputs,
        end_tag=app.end_tag or None,
        end_tag_location=app.end_tag_location or None,
        lease_s=settings.lease_s,
        results_wait_s=settings.results_wait_s,
        log_limit=int(settings.log_limit_mb * MB),
        reserve=int(settings.min_free_gb * GB),
        app=app.name,
        stall_timeout_s=settings.stall_timeout_s if app.stall_timeout_s is None else app.stall_timeout_s,
        max_tasks=settings.max_tasks,
        input_error_codes=findings.input_error_codes,
        input_error=findings.input_error,
        summary=findings.summary,
        warn_if_zero=findings.warn_if_zero,
        internet=app.internet,
    )
