"""The qemu cloud keeps the promises of every cloud: processes with a machine's name are its machines."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.settings import CloudName, Settings
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.network.nfs import NfsServer
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName, find_process
from tests.conftest import eventually
from tests.workers.clouds.conformance import Conformance, Driven
from tests.workers.clouds.qemu.building import make_image, unique_server

SIZE = {"cpus": 1, "memory_mb": 1024, "disk_gb": 20}


class TestQemuCloud(Conformance):
    @pytest.fixture
    def driven(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
        monkeypatch.setattr(NfsServer, "start", lambda _: 20049)
        settings = settings.model_copy(update={"cloud": CloudName.QEMU})
        server, home = unique_server(), QemuHome(settings.home)
        make_image(home.snapshots / "1")
        home.current.symlink_to("1")

        with ExitStack() as running:

            def process(guest: GuestName) -> int:
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", guest.argument])
                running.callback(child.wait)
                running.callback(child.kill)
                eventually(lambda: find_process(guest.mark) is not None)
                return child.pid

            def make(worker: str) -> None:
                spec = MachineSpec(server_id=server, worker=worker, snapshot="1", ssh_public_key="ssh-ed25519 AAAA", **SIZE)
                Machines(home).folder(worker).mkdir(parents=True)
                Machines(home).write(Machine(spec=spec, host_key="", pid=process(spec.guest), ready=True))

            yield Driven(QemuCloud(settings, server), settings, make, lambda name: process(GuestName(unique_server(), name)))
