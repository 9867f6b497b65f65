"""The worst night: three jobs on real machines, the controller and one machine killed, the database erased."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.home.installation import installation_id
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.delivery import deliver
from server.workers.clouds.qemu.process import guests_of
from tests.e2e.conftest import is_clear, served, until, wait_for

FORM = {"text": "hello", "seconds": "45", "outcome": "ok"}
SHORT = {**FORM, "seconds": "5"}

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


def test_all_three_jobs_end_right_and_nothing_is_left(own_settings: Settings, tmp_path: Path) -> None:
    storage, log, server_id = Storage(own_settings.storage), tmp_path / "log", installation_id(own_settings.home)
    with served(own_settings, log) as (client, controller):
        jobs = [client.start("ada", "probe_1.0", own_settings.default_flavor, FORM) for _ in range(3)]
        folders = [JobFolder(storage.jobs / job.folder) for job in jobs]
        for folder in folders:
            deliver(storage, folder, [])
        until(lambda: all("probe started" in folder.log.text() for folder in folders), log)
        controller.send_signal(signal.SIGKILL)
        controller.wait()
    os.kill(guests_of(server_id)[f"job-{jobs[1].job_id}"], signal.SIGKILL)
    for path in tmp_path.glob("cumulus.sqlite*"):
        path.unlink()
    begin = time.monotonic()
    with served(own_settings, log) as (client, _):
        adopted_s = time.monotonic() - begin
        rows = [wait_for(client, job.job_id) for job in jobs]
        assert [row["status"] for row in rows] == ["DONE"] * 3, [row["log"] for row in rows]
        until(lambda: is_clear(own_settings), log)
        until(lambda: orphans() == "", log)
    assert adopted_s < 10
    assert [folder.log.text().count("probe started") for folder in folders] == [1, 2, 1]
    assert [len(list(folder.path.glob(".cumulus.attempt.*"))) for folder in folders] == [1, 2, 1]
    assert all((folder.output / "result.txt").read_text() == "hello\n" for folder in folders)


def test_a_job_whose_machine_is_killed_gets_another_one(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUMULUS_RETRY_DELAY_S", "0.5")
    storage, log, server_id = Storage(own_settings.storage), tmp_path / "log", installation_id(own_settings.home)
    with served(own_settings, log) as (client, _):
        job = client.start("ada", "probe_1.0", own_settings.default_flavor, SHORT)
        folder = JobFolder(storage.jobs / job.folder)
        deliver(storage, folder, [])
        until(lambda: "probe started" in folder.log.text(), log)
        os.kill(guests_of(server_id)[f"job-{job.job_id}"], signal.SIGKILL)
        assert wait_for(client, job.job_id)["status"] == "DONE"
        until(lambda: is_clear(own_settings), log)
    assert folder.log.text().count("probe started") == len(list(folder.path.glob(".cumulus.attempt.*"))) == 2
    assert (folder.output / "result.txt").read_text() == "hello\n"


def orphans() -> str:
    """What the administrator's command says."""
    command = [str(Path(sys.executable).with_name("cumulus")), "orphans"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
