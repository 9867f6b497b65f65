"""The only place that wires the parts together: settings in, a controller or its web application out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import Histogram

from server.api.metrics import turn_histogram
from server.catalog.apps import Catalog, CatalogProblem
from server.catalog.flavors import Flavors, read_flavors
from server.db.connection import open_database
from server.db.dialects.sqlite_database import Database
from server.engine.assembly import Engine, Foundation, assemble
from server.engine.duties.sweeper import OWN_NAME, Sweeper
from server.engine.duties.timekeeping import Timekeeper
from server.engine.loop import Loop
from server.engine.records.batch_store import BatchStore
from server.engine.records.job_store import JobStore
from server.engine.records.rebuild import Rebuilt, rebuild
from server.engine.records.recovery import recover
from server.engine.stages import Stages
from server.progress import Progress, counted
from server.services.batches.planning import Planner
from server.services.batches.service import BatchService
from server.services.jobs.service import JobService
from server.services.jobs.submission import SubmissionCheck
from server.services.uploads.quotas import StoredQuotas
from server.services.uploads.service import UploadService
from server.settings import CHECKOUT, Settings
from server.storage.conversions import CONVERTERS
from server.storage.folders import Storage
from server.workers.ansible.fork_server import AnsibleForkServer
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.base import Cloud
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.registry import known_cloud, make_cloud
from server.workers.fleet import Fleet
from server.workers.terraform.module import TerraformModule, terraform_binary
from server.workers.workspaces import Workspaces

INFRA = CHECKOUT / "infra"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
log = structlog.get_logger()


@dataclass(frozen=True)
class Controller:
    """All parts of one controller, joined."""

    settings: Settings
    database: Database
    catalog: Catalog
    flavors: Flavors
    storage: Storage
    cloud: Cloud
    fleet: Fleet
    jobs: JobService
    batches: BatchService
    uploads: UploadService
    stages: Stages
    loop: Loop
    sweeper: Sweeper
    turns: Histogram


def make_module(settings: Settings, cloud: Cloud) -> TerraformModule:
    """The cloud's worker module; its terraform state lies in the home folder."""
    return TerraformModule(
        INFRA / "terraform" / cloud.name / "worker",
        settings.home / "terraform" / f"{cloud.name}-worker",
        terraform_binary(),
        cloud.terraform_env,
        cloud.translate_output,
    )


def make_fleet(settings: Settings, cloud: Cloud, fork_server: AnsibleForkServer | None = None) -> Fleet:
    """The fleet on a cloud. ``fork_server``: for callers that run more than one play."""
    return Fleet(cloud, make_module(settings, cloud), Playbooks(INFRA / "ansible", fork_server=fork_server), settings)


def make_workspaces(settings: Settings, cloud: Cloud) -> Workspaces:
    """The same cloud's workspaces, for commands that manage them."""
    return Workspaces(cloud, make_module(settings, cloud))


def make_smoke_test(catalog: Catalog) -> SmokeTest:
    """The smoke test of a new snapshot: every app with a version command, the converters, and programs that need a licence."""
    optional = catalog.optional_programs()
    return SmokeTest(catalog.version_commands(), (*CONVERTERS, *sorted(set(optional.values()))), optional)


def elapsed() -> float:
    """Seconds that pass whatever the computer's clock is set to, also while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def this_boot() -> str:
    """Another text after each start of the computer."""
    return BOOT_ID.read_text().strip()


def make_controller(
    settings: Settings,
    cloud: Cloud | None = None,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = elapsed,
    boot: str | None = None,
    require_storage: Callable[[], None] = lambda: None,
) -> Controller:
    """Join the parts; starts nothing. ``clock``: Unix seconds, ``steady``: seconds that never jump.

    ``boot``: which start of the computer ``steady`` counts from; default: this one. ``require_storage``: raises where the storage
    was found to be another installation's.

    Raises InvalidInput for a broken flavors.tsv, SetupMissing where a program is missing.
    """
    timekeeper = Timekeeper(clock, steady, this_boot() if boot is None else boot)
    base = _foundation(settings, cloud, timekeeper, require_storage)
    database = open_database(settings.database)
    database.guard()
    turns = turn_histogram()
    engine = assemble(base, turns.observe)
    return Controller(
        settings,
        database,
        base.catalog,
        base.flavors,
        base.storage,
        base.cloud,
        base.fleet,
        *_make_services(base, engine, database),
        engine.stages,
        engine.loop,
        engine.sweeper,
        turns,
    )


def _foundation(
    settings: Settings, cloud: Cloud | None, timekeeper: Timekeeper, require_storage: Callable[[], None]
) -> Foundation:
    flavors = read_flavors(settings.flavors)
    cloud = cloud or make_cloud(settings)
    storage = Storage(settings.storage, require_storage)
    storage.prepare()
    catalog = Catalog(settings.apps, report=_report)
    fleet = make_fleet(settings, cloud, AnsibleForkServer())
    return Foundation(settings, catalog, flavors, storage, cloud, fleet, timekeeper)


def _make_services(base: Foundation, engine: Engine, database: Database) -> tuple[JobService, BatchService, UploadService]:
    """What changes jobs, one by one and as batches, and takes their files."""
    settings, clock, wake = base.settings, base.timekeeper.clock, engine.loop.wake
    store = JobStore(database, base.storage, engine.retention, min_free_gb=settings.min_free_gb, clock=clock)
    check = SubmissionCheck(base.catalog, base.flavors, engine.installed, base.cloud.images.has_program)
    jobs = JobService(database, base.catalog, base.storage, store, engine.manifests, check, clock=clock, wake=wake)
    stores = (store, BatchStore(database, base.storage, store, clock))
    planner = Planner(base.catalog, check, settings.default_flavor, base.storage.data)
    batches = BatchService(database, base.catalog, base.storage, stores, planner, clock=clock, wake=wake)
    quotas, relieve = StoredQuotas(settings.default_user_quota_gb), engine.retention.relieve
    uploads = UploadService(database, settings, base.catalog, base.storage, quotas, clock=clock, wake=wake, relieve=relieve)
    return jobs, batches, uploads


def rebuild_database(settings: Settings, now: float, progress: Progress, *, dry_run: bool = False) -> Rebuilt:
    """Rebuild the database from the job folders and what the cloud and Terraform have. No controller may run.

    ``dry_run``: only report what would be made.
    """
    storage, flavors = Storage(settings.storage), read_flavors(settings.flavors)
    cloud = known_cloud(settings) if dry_run else make_cloud(settings)
    if not dry_run:
        storage.prepare()
    with progress.step("Reading the job folders", "folders") as step:
        jobs, left = recover(storage, flavors, settings.default_flavor, step.advance)
    with progress.step("Looking for machines"):
        workspaces = make_fleet(settings, cloud).machines.workspaces()
        machines = {one.worker for one in cloud.resources() if one.worker} | set(workspaces)
    names = sorted(name for name in machines if OWN_NAME.fullmatch(name))
    if not dry_run:
        with progress.step("Writing the database", "jobs") as step:
            left += rebuild(settings.database, storage, counted(jobs, step.advance), names, now)
    states = [str(job.state) for job in jobs]
    return Rebuilt({state: states.count(state) for state in sorted(set(states))}, tuple(names), tuple(left))


def _report(problem: CatalogProblem) -> None:
    log.warning("an app cannot be used", file=str(problem.file), line=problem.line, reason=problem.reason)
