"""The orders that a job's runner finds."""

import json

import pytest

from server.app import Controller
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.run_plan import write_orders
from server.settings import Settings
from server.storage.inputs.pins import Pins
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
    reuse = ConversionCache(controller.storage, 0)
    pins = Pins(controller.storage)
    write_orders(job, "job-1", flavor, layout, controller.catalog, folder, pins, reuse, controller.settings)
    plan = json.loads((folder.path / ".cumulus.plan").read_text())
    limits = {name: plan[name] for name in ("results_wait_s", "log_limit", "reserve", "lease_s")}
    assert limits == {"results_wait_s": 77, "log_limit": 1_500_000, "reserve": 250_000_000, "lease_s": 4000}
