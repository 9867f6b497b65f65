"""From a prepared launch to the run plan that the runner of an attempt finds in the job folder: command, config file, inputs."""

from collections.abc import Sequence
from dataclasses import replace

from server.catalog.apps import App, Catalog
from server.catalog.flavors import Flavor
from server.catalog.rendering.command import Rendered
from server.catalog.values import InputFile
from server.db.models import Job
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.preparation import Preparation
from server.engine.records.recording import Learned
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.pins import Pins
from server.storage.inputs.placing import Allowance
from server.storage.job_folder.run_plan import Plan, PlannedInput, PlannedRun
from server.workers.clouds.base import Layout

MB, GB = 1_000_000, 1_000_000_000


class RunPlanner:
    """Writes the run plans of one installation's jobs."""

    def __init__(
        self, settings: Settings, catalog: Catalog, storage: Storage, preparation: Preparation, conversions: ConversionCache
    ) -> None:
        self._settings = settings
        self._preparation = preparation
        self._catalog = catalog
        self._pins = Pins(storage)
        self._conversions = conversions

    def write(self, job: Job, worker: str, flavor: Flavor, layout: Layout, folder: JobFolder) -> Learned:
        """Fill in what an attempt adds to the prepared launch: its number, its machine, what was converted meanwhile.

        Returns what the job's record says of it. Raises InvalidInput, NotFound where app or settings cannot be used any more,
        InputProblem where a pinned file has changed, OSError.
        """
        file = self._catalog.file_of(job.app)
        prepared = self._preparation.prepared(job, folder, flavor, layout, file)
        pinned = self._pins.pin(folder, prepared.files, Allowance())  # what an earlier version has queued is pinned only now
        self._pins.require_unchanged(folder, pinned)
        inputs = self._conversions.plan(job.id, prepared.files, folder, pinned)
        plan = _plan(job, worker, flavor, file.app, inputs, self._settings)
        runs = tuple(_run(one.file, one.command) for one in prepared.rendered if one.file)
        plan = replace(plan, runs=runs, summary_command=prepared.summary_command)
        command = _readable(prepared.rendered)
        folder.instructions.write_plan(plan, command, *_configs(prepared.rendered))
        return Learned(file.app, file.sha256, prepared.files, flavor=flavor, worker=worker, command=command)


def _run(file: InputFile, command: str) -> PlannedRun:
    return PlannedRun(file.name, file.target, command)


def _readable(rendered: Sequence[Rendered]) -> str:
    """What is run, for whoever reads the folder: several commands with the file of each."""
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
