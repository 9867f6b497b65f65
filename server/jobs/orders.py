"""From a job's settings to the orders that its runner finds in the job folder: command, config file, input plan."""

from collections.abc import Iterable
from pathlib import Path

from server.catalog.apps import App, Catalog
from server.catalog.command import Variables, render
from server.catalog.flavors import Flavor
from server.catalog.values import InputFile, input_files
from server.jobs.reuse import Reuse
from server.jobs.submission import parse_settings
from server.models import Job
from server.storage.folders import JobFolder, Plan, PlannedInput
from server.workers.clouds.base import Layout


def write_orders(
    job: Job, worker: str, flavor: Flavor, layout: Layout, catalog: Catalog, folder: JobFolder, reuse: Reuse, lease_s: float
) -> None:
    """Render the job for the machine it got, for a lease of ``lease_s`` seconds.

    Raises InvalidInput, NotFound where app or settings do not serve any more.
    """
    app = catalog.get(job.app)
    settings = parse_settings(job.settings)
    variables = variables_for(flavor, layout)
    rendered = render(app, settings, variables)
    config = (rendered.config_format, rendered.config) if rendered.config is not None and rendered.config_format else None
    inputs = reuse.plan(job.id, input_files(app, settings), folder)
    folder.write_plan(_plan(job, worker, flavor, app, inputs, lease_s), rendered.command, config)


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


def _plan(job: Job, worker: str, flavor: Flavor, app: App, inputs: tuple[PlannedInput, ...], lease_s: float) -> Plan:
    return Plan(
        job_id=job.id,
        attempt=job.attempt,
        worker=worker,
        cpus=flavor.cpus,
        inputs=inputs,
        end_tag=app.end_tag or None,
        end_tag_location=app.end_tag_location or None,
        lease_s=lease_s,
        internet=app.internet,
    )
