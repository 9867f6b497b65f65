"""Memory images made on demand with real machines: for the next job of a flavor, given up, and on a disk that is full."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.catalog.flavors import Flavor, read_flavors
from server.client import Client
from server.errors import InfrastructureError
from server.home.installation import installation_id
from server.process_priority import PATIENT
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.delivery import deliver
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.integrity import Content
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import guests_of
from server.workers.clouds.ssh import run_over_ssh
from tests.e2e.conftest import served, until, wait_for
from tests.e2e.installation import Installation, eventually
from tests.workers.clouds.qemu.building import small_disk

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]
OTHER = "m1.8xlarge"
GIVE_UP_LIMIT_S = 10.0
MAKING_LIMIT_S = 700.0  # half a minute; but all else on the computer goes before it
FULL_AT_KB = 100_000


def images(home: Path) -> Path:
    return QemuHome(home).current.resolve() / "memory"


def images_of(home: Path, flavor: Flavor) -> list[memory.MemoryImage]:
    found = images(home).glob(f"{flavor.cpus}c-{flavor.memory_gb * 1024}m-*")
    return [memory.MemoryImage(folder) for folder in found]


def no_image(home: Path, flavor: Flavor) -> None:
    """As if no machine of that flavor had ever been made."""
    for found in images_of(home, flavor):
        shutil.rmtree(found.folder)


def run_job(client: Client, settings: Settings, log: Path, seconds: int = 0) -> tuple[int, JobFolder]:
    form = {"text": "hello", "seconds": str(seconds), "outcome": "ok"}
    job = client.start("ada", "probe_1.0", OTHER, form)
    storage = Storage(settings.storage)
    folder = JobFolder(storage.jobs / job.folder)
    deliver(storage, folder, [])
    until(lambda: "probe started" in folder.log(), log)
    return job.job_id, folder


def boot_of(settings: Settings, job: int) -> str:
    with sqlite3.connect(settings.database) as rows:
        (boot,) = rows.execute("SELECT boot FROM worker WHERE job_id = ?", (job,)).fetchone()
    return str(boot)


def told(command: str) -> list[dict[str, Any]]:
    program = str(Path(sys.executable).with_name("cumulus"))
    done = subprocess.run([program, command, "--json"], capture_output=True, text=True, check=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_first_job_of_a_flavor_boots_and_the_next_one_starts_warm(own_settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    no_image(own_settings.home, read_flavors(own_settings.flavors)[OTHER])
    with served(own_settings, log) as (client, _):
        first, _ = run_job(client, own_settings, log)
        assert wait_for(client, first)["status"] == "DONE"
        assert boot_of(own_settings, first) == "cold: no memory image for 2c-2048m-20g"
        until(lambda: "a memory image was made" in log.read_text(), log, MAKING_LIMIT_S)
        assert {one["name"]: one["next_boot"] for one in told("flavors")}[OTHER] == "warm"
        begin = time.monotonic()
        second, _ = run_job(client, own_settings, log, seconds=3)
        print(f"the second job's app had started after {time.monotonic() - begin:.1f} s")
        (machine,) = told("state")
        assert (machine["boot"], machine["state"]) == ("warm", "busy")
        assert 50 << 20 < machine["memory"]["proportional"] <= machine["memory"]["resident"] < 2 << 30
        assert wait_for(client, second)["status"] == "DONE"
        until(lambda: guests_of(installation_id(own_settings.home)) == {}, log)


@pytest.mark.usefixtures("nothing_remains")
def test_one_that_is_given_up_leaves_nothing_and_takes_no_time(installation: Installation) -> None:
    flavor, unwanted = read_flavors(installation.settings.flavors)[OTHER], threading.Event()
    no_image(installation.settings.home, flavor)
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(installation.cloud.prewarming.warm_up, flavor, unwanted.is_set)
        eventually(lambda: making.done() or any(name.startswith("canary-") for name in installation.running()))
        eventually(lambda: [psutil.Process(pid).nice() for pid in installation.running().values()] == [PATIENT])
        begin = time.monotonic()
        unwanted.set()
        with pytest.raises(InfrastructureError):
            making.result()
    assert time.monotonic() - begin < GIVE_UP_LIMIT_S
    assert installation.running() == {}
    assert installation.module.store.workspaces() == []
    assert images_of(installation.settings.home, flavor) == []


@pytest.mark.usefixtures("nothing_remains")
def test_one_that_qemu_refuses_although_it_fits_is_tried_once(installation: Installation) -> None:
    (found,) = images_of(installation.settings.home, installation.flavor)
    state, fingerprint = found.state.read_bytes(), found.fingerprint.read_bytes()
    try:
        found.state.write_bytes(b"no stream" + state[9:])
        replace(memory._Fingerprint.read(found.fingerprint), state=Content.of(found.state)).write(found.fingerprint)
        assert installation.cloud.prewarming.next_boot(installation.flavor) == "warm"
        made = installation.apply("job-9201")
        assert made["boot"].startswith("cold: a clone failed: QEMU refused the memory image: ")
        assert installation.cloud.prewarming.next_boot(installation.flavor) == "cold: no memory image for 1c-1024m-20g"
    finally:
        found.state.write_bytes(state)
        found.fingerprint.write_bytes(fingerprint)
    assert run_over_ssh(installation.login(made), "hostname", 60).strip() == "job-9201"
    installation.destroy("job-9201")
    assert installation.cloud.prewarming.next_boot(installation.flavor) == "warm"


@pytest.mark.usefixtures("nothing_remains")
def test_a_disk_that_fills_while_one_is_made_is_a_reason_and_nothing_is_left(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel ends the machine without a word when there is no room for its memory."""
    flavor, folder = read_flavors(installation.settings.flavors)[OTHER], images(installation.settings.home)
    with small_disk(folder, FULL_AT_KB):
        with pytest.raises(InfrastructureError, match="MB free on the disk"):
            installation.cloud.prewarming.warm_up(flavor, lambda: False)
        assert list(folder.iterdir()) == []
        for name in ("LEFT_FREE", "STATE_RESERVE", "TOUCHED"):  # as if another process took the room meanwhile
            monkeypatch.setattr(memory, name, 0)
        with pytest.raises(InfrastructureError):
            installation.cloud.prewarming.warm_up(flavor, lambda: False)
        assert list(folder.iterdir()) == []
        assert installation.running() == {}
