"""What jobs on real machines survive: the storage server killed, and silent for two minutes; a controller that never returns."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.client import Client
from server.home.installation import installation_id
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.delivery import deliver
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import find_process, guests_of
from tests.e2e.conftest import is_clear, served, until, wait_for

SILENCE_S = 120.0
SWEEP_S = 8
LEASE_S = 60

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


def begin(client: Client, settings: Settings, log: Path, seconds: int) -> tuple[int, JobFolder]:
    """A job that runs on a machine."""
    form = {"text": "hello", "seconds": str(seconds), "outcome": "ok"}
    job = client.start("ada", "probe_1.0", settings.default_flavor, form)
    storage = Storage(settings.storage)
    folder = JobFolder(storage.jobs / job.folder)
    deliver(storage, folder, [])
    until(lambda: "probe started" in folder.log.text(), log)
    return job.job_id, folder


def server_of(settings: Settings) -> int | None:
    """The process of the storage server, if there is one."""
    return find_process(str(QemuHome(settings.home).nfs_config))


def is_killed(settings: Settings, log: Path) -> None:
    """Somebody kills the server; the controller has it again after its next sweep."""
    former = server_of(settings)
    assert former is not None
    os.kill(former, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: server_of(settings) not in (None, former), log)
    print(f"the storage server was back after {time.monotonic() - killed:.0f} s")
    assert time.monotonic() - killed < SWEEP_S + 15


def is_silent(settings: Settings, log: Path) -> None:
    """The server answers nothing for two minutes."""
    pid = server_of(settings)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(SILENCE_S)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("outage", [is_killed, pytest.param(is_silent, marks=pytest.mark.long)])
def test_jobs_go_on_after_the_storage_was_away(
    own_settings: Settings, tmp_path: Path, outage: Callable[[Settings, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUMULUS_SWEEP_INTERVAL_S", str(SWEEP_S))
    log = tmp_path / "log"
    with served(own_settings, log) as (client, _):
        job, folder = begin(client, own_settings, log, 30)
        outage(own_settings, log)
        row = wait_for(client, job)
        assert row["status"] == "DONE", log.read_text()[-3000:]
        until(lambda: is_clear(own_settings), log)
    assert folder.log.text().count("probe started") == 1
    assert (folder.output / "result.txt").read_text() == "hello\n"


def test_a_machine_whose_controller_never_returns_ends_by_itself(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUMULUS_LEASE_S", str(LEASE_S))
    log = tmp_path / "log"
    with served(own_settings, log) as (client, controller):
        job, _ = begin(client, own_settings, log, 3000)
        controller.kill()
        controller.wait()
    killed = time.monotonic()
    until(lambda: guests_of(installation_id(own_settings.home)) == {}, log)
    print(f"the machine was gone {time.monotonic() - killed:.0f} s after its controller, with a lease of {LEASE_S} s")
    assert time.monotonic() - killed > LEASE_S / 2
    monkeypatch.delenv("CUMULUS_LEASE_S")
    with served(own_settings, log) as (client, _):
        client.cancel("ada", job)
        assert wait_for(client, job)["status"] == "CANCELLED"
        until(lambda: is_clear(own_settings), log)
