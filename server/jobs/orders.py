"""From a job's settings to the orders that its runner finds in the job folder: command, config file, input plan."""

from server.catalog.apps import App, Catalog
from server.catalog.command import Variables, render
from server.catalog.flavors import Flavor
from server.catalog.values import input_files
from server.jobs.recording import Learned
from server.jobs.reuse import Reuse
from server.jobs.submission import parse_settings
from server.models import Job
from server.settings import Settings
from server.storage.folders import JobFolder, Plan, PlannedInput
from server.storage.pins import Pins
from server.storage.placing import Allowance
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
    reuse: Reuse,
    settings: Settings,
) -> Learned:
    """Render the job for the machine it got, within the installation's limits; returns what its record has to say of that.

    Raises InvalidInput, NotFound where app or settings do not serve any more, InputProblem where a pinned file was changed.
    """
    app = catalog.get(job.app)
    form = parse_settings(job.settings)
    variables = variables_for(flavor, layout)
    rendered = render(app, form, variables)
    config = (rendered.config_format, rendered.config) if rendered.config is not None and rendered.config_format else None
    files = input_files(app, form)
    pinned = pins.pin(folder, files, Allowance())  # what was queued by an earlier version is pinned only now
    pins.require_unchanged(folder, pinned)
    inputs = reuse.plan(job.id, files, folder, pinned)
    folder.write_plan(_plan(job, worker, flavor, app, inputs, settings), rendered.command, config)
    return Learned(app, catalog.checksum(app.id), files, flavor=flavor, worker=worker, command=rendered.command)


def variables_for(flavor: Flavor, layout: Layout) -> Variables:
    """What the ``%…%`` variables of an app stand for on a machine of this flavor; one CPU is left to the system."""
    return Variables(
        threads=max(1, flavor.cpus - 1),
        input_dir=f"{layout.work_dir}/input",
        output_dir=f"{layout.work_dir}/output",
        config_file=f"{layout.job_dir}/.cumulus.settings",
    )


def _plan(job: Job, worker: str, flavor: Flavor, app: App, inputs: tuple[PlannedInput, ...], settings: Settings) -> Plan:
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
    )
