"""The OpenStack cloud keeps the promises of every cloud: the real SDK over real HTTP, on a cloud in memory."""

import pytest

from server.settings import Settings
from server.workers.clouds.openstack.cloud import OpenstackCloud
from tests.workers.clouds.conformance import Conformance, Driven
from tests.workers.clouds.openstack.double import Double


class TestOpenstackCloud(Conformance):
    @pytest.fixture
    def driven(self, settings: Settings, cloud: OpenstackCloud, api: Double) -> Driven:
        api.add_snapshot("first", metadata={"cumulus_template": "cumulus-template", "cumulus_promoted": "1000"})

        def make(worker: str) -> None:
            api.add_server(worker, api.add_volume(worker))
            api.add_port(worker)

        def make_foreign(worker: str) -> None:
            tags = {"cumulus_server": "cffffffffffff", "cumulus_worker": worker}
            api.add_server(worker, metadata=tags)
            api.add_volume(worker, metadata=tags)
            api.add_port(worker, mark="cumulus_server=cffffffffffff")

        return Driven(cloud, settings, make, make_foreign)
