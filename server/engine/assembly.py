"""Joins the parts of the engine; starts nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from server.catalog.apps import Catalog
from server.catalog.flavors import Flavors
from server.db.models import Worker
from server.engine.background import Background
from server.engine.breaker import CircuitBreaker
from server.engine.completion import Completion
from server.engine.duties.admission import Admission
from server.engine.duties.image_prewarmer import ImagePrewarmer
from server.engine.duties.retention import Retention
from server.engine.duties.schedule import Schedule
from server.engine.duties.sweeper import Sweeper
from server.engine.duties.timekeeping import Timekeeper
from server.engine.duties.trashcan import Trashcan
from server.engine.duties.upkeep import Upkeep
from server.engine.duties.uploads import UploadUpkeep
from server.engine.failures import FailingJobs
from server.engine.installed_apps import InstalledApps
from server.engine.intake import Intake
from server.engine.launching.attempt_files import AttemptFiles
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.launch_failures import LaunchFailures
from server.engine.launching.launch_retries import LaunchRetries
from server.engine.launching.launcher import Launcher
from server.engine.launching.pool_launcher import PoolLauncher
from server.engine.launching.preparation import Preparation
from server.engine.launching.run_plan import RunPlanner
from server.engine.loop import Loop
from server.engine.monitoring.monitor import Monitor
from server.engine.ready_pool import ReadyPool
from server.engine.records.manifests import Manifests
from server.engine.records.sizes import Sizes
from server.engine.situation import Situations
from server.engine.stages import Stages
from server.engine.teardown import Teardown
from server.engine.timeouts import Timeouts
from server.settings import Settings
from server.storage.folders import Storage
from server.workers.clouds.base import Cloud
from server.workers.fleet import Fleet


@dataclass(frozen=True)
class Foundation:
    """What the engine stands on. ``timekeeper`` has the clocks of all its parts."""

    settings: Settings
    catalog: Catalog
    flavors: Flavors
    storage: Storage
    cloud: Cloud
    fleet: Fleet
    timekeeper: Timekeeper


@dataclass(frozen=True)
class Engine:
    """One controller's engine, joined, and those of its parts that others use as well."""

    loop: Loop
    stages: Stages
    sweeper: Sweeper
    manifests: Manifests
    installed: InstalledApps
    retention: Retention


@dataclass(frozen=True)
class _Shared:
    """The parts that several others use."""

    manifests: Manifests
    completion: Completion
    conversions: ConversionCache
    preparation: Preparation
    breaker: CircuitBreaker
    retries: LaunchRetries
    installed: InstalledApps
    retention: Retention


def assemble(base: Foundation, turned: Callable[[float], None]) -> Engine:
    """The engine on that foundation. ``turned`` gets the seconds that each turn of the loop took.

    Raises InvalidInput where the setting ``min_ready`` cannot be met.
    """
    shared = _shared(base)
    stages = _stages(base, shared)
    sweeper = Sweeper(base.cloud, base.fleet, base.storage.jobs)
    background = Background(base.settings, base.timekeeper.clock)
    schedule = _schedule(base, shared, stages, sweeper, background)
    situations = Situations(base.settings, base.storage, base.flavors.max_weight, base.timekeeper.clock)
    admission = Admission(situations, shared.breaker, stages.pool, shared.manifests)
    loop = Loop(base.settings, base.storage, stages, admission, schedule, background, base.timekeeper, turned)
    return Engine(loop, stages, sweeper, shared.manifests, shared.installed, shared.retention)


def _shared(base: Foundation) -> _Shared:
    settings, storage, clock = base.settings, base.storage, base.timekeeper.clock
    manifests = Manifests(storage, base.timekeeper.steady)
    breaker = CircuitBreaker(settings, clock)
    return _Shared(
        manifests,
        Completion(settings, manifests),
        ConversionCache(storage, settings.conversion_wait_s),
        Preparation(base.flavors, base.fleet.layout, clock),
        breaker,
        LaunchRetries(settings, base.fleet, breaker, clock),
        InstalledApps(base.catalog, base.cloud),
        Retention(storage, settings.data_max_age_days, Trashcan(storage, settings.trash_days)),
    )


def _stages(base: Foundation, shared: _Shared) -> Stages:
    settings, storage, fleet, clock = base.settings, base.storage, base.fleet, base.timekeeper.clock
    completion, conversions, retries, breaker = shared.completion, shared.conversions, shared.retries, shared.breaker
    pool_launcher = PoolLauncher(settings, base.flavors, fleet, retries, breaker, clock)
    return Stages(
        intake=Intake(settings, base.catalog, storage, completion, conversions, shared.preparation, clock),
        pool=ReadyPool(settings, base.flavors, fleet, pool_launcher),
        pool_launcher=pool_launcher,
        launcher=_launcher(base, shared),
        monitor=Monitor(settings, storage, fleet, completion, conversions, clock, base.timekeeper.steady),
        teardown=Teardown(settings, storage, fleet, shared.manifests, retries, breaker, clock),
        timeouts=Timeouts(settings, storage, completion, retries),
        failing=FailingJobs(storage.is_there, completion.fail),
    )


def _launcher(base: Foundation, shared: _Shared) -> Launcher:
    settings, storage, fleet, clock = base.settings, base.storage, base.fleet, base.timekeeper.clock
    planner = RunPlanner(settings, base.catalog, storage, shared.preparation, shared.conversions)
    files = AttemptFiles(settings, base.catalog, storage, fleet, planner, shared.installed, shared.manifests)
    failures = LaunchFailures(fleet, shared.completion, shared.retries, shared.breaker, clock)
    return Launcher(base.flavors, storage, fleet, files, shared.completion, failures, clock)


def _schedule(base: Foundation, shared: _Shared, stages: Stages, sweeper: Sweeper, background: Background) -> Schedule:
    settings, timekeeper = base.settings, base.timekeeper
    sizes, uploads = Sizes(base.storage), UploadUpkeep(base.storage, timekeeper.clock)
    upkeep = Upkeep(settings, shared.conversions, shared.manifests, sizes, base.fleet, shared.retention, uploads)
    prewarmer = ImagePrewarmer(base.cloud, base.flavors, settings.warm_images, timekeeper.steady)

    def on_missing(worker: Worker) -> None:
        stages.machine_missing(worker, timekeeper.clock())

    return Schedule(settings, background, timekeeper, upkeep, sweeper, prewarmer, shared.manifests, on_missing)
