"""The only place that wires the parts together: settings in, a controller or its web application out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path

import structlog
from flask import Flask, Response, request
from prometheus_client import Histogram
from werkzeug.exceptions import HTTPException

from programs.http.doorkeeper import Doorkeeper
from programs.http.forms import BoundedRequest
from programs.http.visitors import visitors
from server.api.desktop.routes import DesktopRoutes
from server.api.metrics import Metrics, turn_histogram
from server.api.refusals import (
    CHANGING,
    DATABASE_ERRORS,
    FAILED,
    UNAVAILABLE,
    database_failed,
    failed,
    refused_foreign,
    storage_taken,
)
from server.api.responses import answer, error_answer
from server.catalog.apps import Catalog, CatalogProblem
from server.catalog.flavors import Flavors, read_flavors
from server.db.database import Database
from server.db.models import ChangeCounter, open_database
from server.engine.breaker import Circuit
from server.engine.completion import Completion
from server.engine.duties.image_prewarmer import ImagePrewarmer
from server.engine.duties.retention import Retention
from server.engine.duties.sweeper import OWN_NAME, Sweeper
from server.engine.duties.timekeeping import Timekeeper
from server.engine.duties.trashcan import Trashcan
from server.engine.installed_apps import InstalledApps
from server.engine.intake import Intake
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.steps import Steps
from server.engine.loop import Loop
from server.engine.monitor import Monitor
from server.engine.ready_pool import ReadyPool
from server.engine.records.job_store import JobStore
from server.engine.records.manifests import Manifests
from server.engine.records.rebuild import Rebuilt, rebuild
from server.engine.records.recovery import recover
from server.errors import CumulusError, InvalidInput, NotFound
from server.progress import Progress, counted
from server.services.jobs import JobService
from server.settings import CHECKOUT, Settings
from server.storage.conversions import CONVERTERS
from server.storage.folders import Storage
from server.storage.holding import StorageTaken
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
VERSION = version("cumulus")
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
    steps: Steps
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


def make_fleet(settings: Settings, cloud: Cloud, preloaded: AnsibleForkServer | None = None) -> Fleet:
    """The fleet on a cloud. ``preloaded``: for who plays more than once."""
    return Fleet(cloud, make_module(settings, cloud), Playbooks(INFRA / "ansible", preloaded=preloaded), settings)


def make_workspaces(settings: Settings, cloud: Cloud) -> Workspaces:
    """The same cloud's workspaces, for who looks after them."""
    return Workspaces(cloud, make_module(settings, cloud))


def make_smoke_test(catalog: Catalog) -> SmokeTest:
    """What a new snapshot is tried with: every app that tells its version, the converters, and what only a licence gives."""
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
    flavors = read_flavors(settings.flavors)
    boot = this_boot() if boot is None else boot
    cloud = cloud or make_cloud(settings)
    storage = Storage(settings.storage, require_storage)
    storage.prepare()
    catalog = Catalog(settings.apps, report=_report)
    fleet = make_fleet(settings, cloud, AnsibleForkServer())
    database = open_database(settings.database)
    database.guard()
    manifests = Manifests(storage, steady)
    endings = Completion(settings, manifests)
    reuse = ConversionCache(storage, settings.conversion_wait_s)
    circuit = Circuit(settings, clock)
    pool = ReadyPool(settings, flavors, fleet, circuit, clock)
    installed = InstalledApps(catalog, cloud)
    retention = Retention(storage, settings.data_max_age_days, Trashcan(storage, settings.trash_days))
    rules = manifests, installed, retention
    steps = Steps(settings, catalog, flavors, storage, fleet, endings, reuse, circuit, pool, *rules, clock)
    intake = Intake(settings, catalog, storage, endings, reuse, clock)
    watch = Monitor(settings, storage, fleet, endings, reuse, clock, steady)
    sweeper = Sweeper(cloud, fleet, storage.jobs)
    warmer = ImagePrewarmer(cloud, flavors, settings.warm_images, steady)
    turns = turn_histogram()
    times = Timekeeper(clock, steady, boot), clock, steady, turns.observe
    parts = storage, manifests, intake, steps, watch, pool, sweeper, warmer, circuit
    loop = Loop(settings, *parts, flavors.max_weight, *times)
    jobs = JobService(
        database,
        catalog,
        flavors,
        storage,
        JobStore(database, storage, retention, min_free_gb=settings.min_free_gb, clock=clock),
        manifests,
        has_program=cloud.images.has_program,
        installed=installed,
        clock=clock,
        wake=loop.wake,
    )
    return Controller(settings, database, catalog, flavors, storage, cloud, fleet, jobs, steps, loop, sweeper, turns)


def rebuild_database(settings: Settings, now: float, progress: Progress, *, dry_run: bool = False) -> Rebuilt:
    """Make the database anew from the job folders and what the cloud and Terraform have. No controller may run.

    ``dry_run``: only say what would be made.
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


def create_app(controller: Controller) -> Flask:
    """The web application over a controller's parts."""
    app = Flask("cumulus", static_folder=None)
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = controller.settings.max_post_bytes
    # The client asks for //apps, and never follows a redirect.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    own = visitors(controller.settings.host, controller.settings.allowed_hosts)
    app.before_request(Doorkeeper(own, CHANGING, refused_foreign).refuse)
    commits = ChangeCounter(controller.settings.database, controller.database.require_file)
    legacy = DesktopRoutes(
        controller.settings, VERSION, controller.jobs, controller.catalog, controller.flavors, controller.storage, commits
    )
    app.register_blueprint(legacy.blueprint())
    metrics = Metrics(controller.sweeper, controller.flavors.max_weight, controller.turns)
    app.add_url_rule("/metrics", "metrics", metrics.answer)
    app.add_url_rule("/healthz", "healthz", lambda: _health(controller))
    app.register_error_handler(CumulusError, _refused)
    app.register_error_handler(StorageTaken, storage_taken)
    app.register_error_handler(HTTPException, _http_error)
    for kind in DATABASE_ERRORS:
        app.register_error_handler(kind, database_failed)
    return app


def _health(controller: Controller) -> Response:
    """200 while requests are served and the database, which must be the one that was opened, answers and is sound, and the
    storage is ours.
    """
    controller.storage.require_own()
    controller.database.require_file()
    controller.database.execute_sql("SELECT count(*) FROM switch")
    if damage := controller.loop.damage:
        return failed(damage.message, damage.code, UNAVAILABLE)
    return answer({"status": "ok", "version": VERSION, "cloud": controller.cloud.name})


def _refused(error: CumulusError) -> Response:
    missing = isinstance(error, NotFound) or (isinstance(error, InvalidInput) and request.path.startswith("/get"))
    return error_answer(error, 404 if missing else 400)


def _http_error(error: HTTPException) -> Response:
    status, code = error.code or 500, (error.name or "error").lower().replace(" ", "_")
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return failed(FAILED, code)
    response = answer({"error": {"code": code, "message": error.description, "field": None}}, status)
    response.headers.extend((name, value) for name, value in error.get_headers() if name in ("Allow", "Content-Range"))
    return response
