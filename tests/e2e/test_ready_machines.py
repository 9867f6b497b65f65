"""A real machine that waits ready for a job."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.db.connection import open_database
from server.db.models import Worker
from server.db.queries import living_workers
from server.engine.ready_pool import is_waiting
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.delivery import deliver
from tests.e2e.conftest import is_clear, served, until, wait_for

FORM = {"text": "hello", "seconds": "1", "outcome": "ok"}

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]


def test_a_job_starts_at_once_on_a_machine_that_waits_for_it(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUMULUS_MIN_READY", f'{{"{own_settings.default_flavor}": 1}}')
    log, storage = tmp_path / "log", Storage(own_settings.storage)
    with served(own_settings, log) as (client, _):
        open_database(own_settings.database)
        until(lambda: any(map(is_waiting, living_workers())), log)
        begin = time.monotonic()
        job = client.start("ada", "probe_1.0", own_settings.default_flavor, FORM)
        folder = JobFolder(storage.jobs / job.folder)
        deliver(storage, folder, [])
        until(lambda: "probe started" in folder.log.text(), log)
        print(f"from the submission to the app's first line on a waiting machine: {time.monotonic() - begin:.2f} s")
        assert wait_for(client, job.job_id)["status"] == "DONE"
        assert [worker.name for worker in Worker.select().where(Worker.job_id == job.job_id)] == ["pool-1"]
        until(lambda: any(map(is_waiting, living_workers())), log)  # another one, for the next job
        subprocess.run([Path(sys.executable).with_name("cumulus"), "drain"], check=True)
        until(lambda: is_clear(own_settings), log)
