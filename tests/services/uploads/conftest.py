"""Uploads of a test's own controller."""

from collections.abc import Iterator

import pytest

from server.app import Controller
from server.db.models import Job
from server.services.uploads.service import UploadService
from tests.conftest import submission
from tests.services.uploads.serving import service_of, taking_uploads
from tests.services.uploads.tus import Tus


@pytest.fixture
def service(controller: Controller) -> UploadService:
    """Its uploads, without quotas."""
    return service_of(controller)


@pytest.fixture
def url(controller: Controller, service: UploadService) -> Iterator[str]:
    """Where it answers."""
    with taking_uploads(controller, service) as found:
        yield found


@pytest.fixture
def tus(url: str) -> Tus:
    """Ada's client."""
    return Tus(url)


def waiting_job(controller: Controller, *names: str, owner: str = "ada") -> Job:
    """A job that waits for these shared files."""
    paths = ", ".join(f'"/far/{name}"' for name in names)
    text = f'{{"text": "hello", "seconds": "0", "outcome": "ok", "inputs": [{paths}]}}'
    return controller.jobs.submit(*submission(owner, settings=text))
