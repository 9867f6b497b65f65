"""The local cloud keeps the promises of every cloud: with its real Terraform module's folders."""

import pytest

from server.settings import Settings
from server.workers.clouds.local import LocalCloud
from tests.workers.clouds.conformance import Conformance, Driven


class TestLocalCloud(Conformance):
    @pytest.fixture
    def driven(self, settings: Settings, cloud: LocalCloud) -> Driven:
        cloud.start()

        def make(worker: str) -> None:
            (settings.home / "local" / worker).mkdir()

        def make_foreign(worker: str) -> None:
            (settings.home.with_name("another") / "local" / worker).mkdir(parents=True)

        return Driven(cloud, settings, make, make_foreign)
