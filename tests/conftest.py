"""What many tests share: settings of their own, a controller on the local cloud."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
import structlog

from server.app import Controller, make_controller
from server.db.models import Job
from server.home.installation import installation_id
from server.services.jobs.submission import Submission
from server.services.principal import Principal
from server.settings import CloudName, Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.order import pytest_collection_modifyitems, pytest_xdist_make_scheduler

__all__ = ["pytest_collection_modifyitems", "pytest_xdist_make_scheduler"]


TEST_APPS = Path(__file__).parent / "apps"
FLAVORS = "NAME\tWEIGHT\tCPU\tRAM\nm1.4xlarge\t1\t1\t1\nm1.8xlarge\t2\t2\t2\nm1.heavy\t9\t8\t64\nMAX_ACCUMULATED_WEIGHT = 4\n"

# How long an example takes says nothing where several workers share two processors.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("CUMULUS_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """No test writes where a command of an earlier one has set up its log."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


@pytest.fixture
def no_terraform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A computer without any program, and a virtual environment without terraform."""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "nowhere"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation of this test alone, on the local cloud."""
    flavors = tmp_path / "flavors.tsv"
    flavors.write_text(FLAVORS)
    return Settings(
        home=tmp_path / "home",
        cloud=CloudName.LOCAL,
        apps=TEST_APPS,
        flavors=flavors,
        port=0,
        retry_delay_s=0.1,
        poll_interval_s=0.1,
        min_free_gb=0,
    )


@pytest.fixture
def cloud(settings: Settings) -> LocalCloud:
    """The local cloud of that installation."""
    return LocalCloud(settings, installation_id(settings.home))


@pytest.fixture
def controller(settings: Settings, cloud: LocalCloud) -> Iterator[Controller]:
    """Its parts, joined; the loop does not run."""
    cloud.start()
    made = make_controller(settings, cloud)
    yield made
    made.loop.stop(grace_s=10)
    made.database.close()
    cloud.stop()


@contextmanager
def turning(controller: Controller) -> Iterator[Controller]:
    """A controller whose loop runs."""
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    try:
        yield controller
    finally:
        controller.loop.stop(grace_s=15)
        thread.join(15)


def submission(owner: str = "ada", **changes: str) -> tuple[Principal, Submission]:
    """Somebody, and a job of the test app that succeeds at once."""
    given = {
        "app": "probe_1.0",
        "flavor": "m1.4xlarge",
        "settings": '{"text": "hello", "seconds": "0", "outcome": "ok"}',
    }
    return Principal.desktop(owner), Submission(**{**given, **changes})


def eventually(look: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait until ``look`` is true; fail the test if it does not come true."""
    deadline = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def state_of(job_id: int) -> JobState:
    """Where a job stands."""
    return JobState(Job.get_by_id(job_id).state)
