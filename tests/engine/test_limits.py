"""The orders that a job's runner finds."""

import json

import pytest

from server.app import Controller
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.preparation import Preparation
from server.engine.launching.run_plan import RunPlanner
from server.settings import Settings
from tests.conftest import submission


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.results_wait_s = 77
    settings.log_limit_mb = 1.5
    settings.min_free_gb = 0.25
    settings.lease_s = 4000
    return settings


def test_the_runner_is_told_the_limits_of_the_installation(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    folder = controller.storage.folder(job.folder)
    layout = controller.fleet.layout("job-1", folder.path)
    flavor = controller.flavors["m1.4xlarge"]
    conversions = ConversionCache(controller.storage, 0)
    preparation = Preparation(controller.flavors, controller.fleet.layout, lambda: 0.0)
    planner = RunPlanner(controller.settings, controller.catalog, controller.storage, preparation, conversions)
    planner.write(job, "job-1", flavor, layout, folder)
    plan = json.loads((folder.path / ".cumulus.plan").read_text())
    limits = {name: plan[name] for name in ("results_wait_s", "log_limit", "reserve", "lease_s")}
    assert limits == {"results_wait_s": 77, "log_limit": 1_500_000, "reserve": 250_000_000, "lease_s": 4000}
