"""Ends and starts of a controller: in order, beside another, with many jobs at work, with a set clock, with a busy database."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.app import Controller, elapsed, make_controller
from server.db import models
from server.db.models import Change, Job, Worker, create
from server.home.installation import installation_id, running_controller
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import JobFolder, Plan, folder_name
from server.workers.clouds.local import RUNNER, LocalCloud
from tests.conftest import eventually, state_of, submission
from tests.faults.figures import record
from tests.faults.lab import Lab, wait
from tests.faults.promises import check

MANY = 50
ADOPTION_LIMIT_S = 5.0
STOP_LIMIT_S = 10.0

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab", limit=MANY)
    yield made
    made.end()


def put_to_work(lab: Lab, number: int) -> JobFolder:
    """A job that runs, as an earlier controller has left it: rows, folder, machine, and a real runner on it."""
    now = time.time()
    name = folder_name(number, "ada", "ledger_1.0", now)
    folder = lab.storage.folder(name)
    folder.create("{}")
    folder.mark_arrived()
    machine = lab.settings.home / "local" / f"job-{number}"
    machine.mkdir(parents=True)
    folder.write_plan(Plan(number, 1, machine.name, 1, ()), "sleep 600", None)
    places = ["--job-dir", str(folder.path), "--data-dir", str(lab.storage.data), "--work-dir", str(machine / "job")]
    subprocess.run([sys.executable, str(RUNNER), "start", *places], check=True, stdout=subprocess.DEVNULL)
    fields = {"owner": "ada", "app": "ledger_1.0", "flavor": "light", "weight": 1, "settings": "{}", "folder": name}
    create(Job, Change(now), id=number, state=JobState.RUNNING, attempt=1, description=f"one-{number}", **fields)
    row = {"name": machine.name, "job_id": number, "flavor": "light", "weight": 1}
    create(Worker, Change(now), state=WorkerState.BUSY, **row)
    return folder


def test_fifty_running_jobs_are_adopted_within_five_seconds(lab: Lab) -> None:
    """A controller renews the lease of each machine that it takes over: that is seen from outside."""
    lab.storage.prepare()
    with lab.rows():
        folders = [put_to_work(lab, number) for number in range(1, MANY + 1)]
    begin = time.monotonic()
    lab.start()
    wait(lambda: all((folder.path / ".cumulus.lease").exists() for folder in folders), 30, lab.log)
    took_s = time.monotonic() - begin
    record("adoption", str(MANY), jobs=MANY, seconds=took_s)
    assert took_s <= ADOPTION_LIMIT_S
    with lab.rows():
        assert Job.select().where(Job.state.in_((JobState.RUNNING, JobState.LOST)), Job.attempt == 1).count() == MANY
    assert lab.stop() < STOP_LIMIT_S


def test_an_end_in_order_is_quick_and_loses_nothing_of_what_is_at_work(lab: Lab) -> None:
    lab.plan("terraform", "real apply", "slow apply", "hang apply")
    lab.plan("ansible-playbook", "real start", "slow start")
    names = [f"job-{number}" for number in range(4)]
    lab.start()
    for name in names:
        lab.submit(name, seconds=2)
    for _ in range(4):
        time.sleep(1.2)
        assert lab.stop() < STOP_LIMIT_S
        lab.start()
    assert [lab.reach(name) for name in names] == [JobState.DONE] * 4
    lab.settle()
    check(lab)


def test_an_end_in_order_waits_neither_for_a_reader_nor_for_what_another_controller_left(lab: Lab) -> None:
    lab.given = {"create_timeout_s": 60.0, "sweep_interval_s": 1.0}
    lab.storage.prepare()
    shared = lab.storage.data / "large.dat"
    shared.parent.mkdir(parents=True, exist_ok=True)
    with shared.open("wb") as file:
        file.truncate(10**9)
    left = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"],
        env={
            **os.environ,
            "TF_DATA_DIR": str(lab.settings.home / "terraform" / "local-worker" / "data"),
            "TF_WORKSPACE": "job-7",
        },
    )
    lab.start()
    wait(lambda: "waiting for a terraform" in lab.log(), 30, lab.log)
    running = running_controller(lab.settings.home)
    assert running is not None
    address = urlsplit(running.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as reader:
        reader.sendall(b"GET /getfile/ada/large.dat HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert reader.recv(1000).startswith(b"HTTP/1.1 200")
        took_s = lab.stop()
    left.kill()
    left.wait()
    print(f"the end took {took_s:.1f} s")
    assert took_s < STOP_LIMIT_S


def test_a_second_controller_refuses_and_disturbs_nothing(lab: Lab) -> None:
    lab.start()
    lab.submit("one", seconds=1)
    environment = {**os.environ, "CUMULUS_HOME": str(lab.settings.home), "CUMULUS_CLOUD": "local", "CUMULUS_PORT": "0"}
    command = [str(Path(sys.executable).with_name("cumulus")), "serve"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "already runs" in done.stderr) == (1, True)
    assert lab.reach("one") == JobState.DONE
    lab.settle()
    check(lab)


class Clock:
    """Real time, and by how much the computer's clock was set."""

    def __init__(self) -> None:
        self.set_by = 0.0

    def __call__(self) -> float:
        return time.time() + self.set_by


@pytest.mark.parametrize("seconds", [3 * 86_400.0, -3 * 86_400.0])
def test_a_clock_that_is_set_ends_no_job(settings: Settings, cloud: LocalCloud, seconds: float) -> None:
    clock = Clock()
    cloud.start()
    controller = make_controller(settings, cloud, clock, elapsed)
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    waiting = controller.jobs.submit(*submission())
    running = begin(controller, '{"text": "x", "seconds": "4", "outcome": "ok"}')
    eventually(lambda: state_of(running) is JobState.RUNNING)
    clock.set_by = seconds
    controller.loop.wake()
    eventually(lambda: state_of(running) is JobState.DONE)
    assert state_of(waiting.id) is JobState.UPLOADING
    controller.storage.folder(waiting.folder).mark_arrived()
    eventually(lambda: state_of(waiting.id) is JobState.DONE)
    assert {job.attempt for job in Job.select()} == {1}
    controller.loop.stop(grace_s=15)
    thread.join(15)
    controller.database.close()


def test_a_database_that_somebody_holds_for_long_delays_and_fails_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "BUSY_TIMEOUT_MS", 1000)
    cloud = LocalCloud(settings, installation_id(settings.home))
    cloud.start()
    controller = make_controller(settings, cloud)
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    job = begin(controller, '{"text": "x", "seconds": "1", "outcome": "ok"}')
    eventually(lambda: state_of(job) is not JobState.UPLOADING)
    other = sqlite3.connect(settings.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(2.5)  # longer than anybody waits
    other.execute("ROLLBACK")
    other.close()
    eventually(lambda: state_of(job) is JobState.DONE)
    eventually(lambda: Worker.select().where(Worker.state != WorkerState.DELETED).count() == 0)
    controller.loop.stop(grace_s=15)
    thread.join(15)
    controller.database.close()


def begin(controller: Controller, form: str) -> int:
    """Submit a job whose files are there."""
    job = controller.jobs.submit(*submission(settings=form))
    controller.storage.folder(job.folder).mark_arrived()
    controller.loop.wake()
    return int(job.id)
