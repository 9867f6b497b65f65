"""The service on a virtual machine and the script that speaks to it, with folders in the place of mounts."""

import ast
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runner.conftest import FILES, Worker, runs, wait_until

# The service as it is, but for what only root on a machine of its own can do.
SERVICE = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from cumulus_runner import given, guest, mounts, scout
from cumulus_runner.errors import RunnerError
root, pipes, boot = sys.argv[2:]
def mount_storage(server, port):
    if server == "away":
        raise RunnerError(f"the storage at {server}:{port} cannot be mounted: No route to host")
guest.PIPES, guest.WORK, mounts.DATA, mounts.JOB = pipes, root + "/work", root + "/data", root + "/jobs/Job_7_alice_app_1"
def await_server(server, port):
    while os.path.exists(root + "/no-network"):
        time.sleep(0.02)
def read_given():
    with open(root + "/meta_data.json") as file:
        return given.given_in(file.read())
guest.BARRED = root + "/stopped"
scout.read_given, scout.await_server, scout.await_disk = read_given, await_server, lambda: None
mounts.mount_storage, mounts.hide_writable_job = mount_storage, lambda: None
mounts.unmount_all = lambda: open(root + "/unmounted", "w").close()
mounts.show_job = lambda name: f"{root}/jobs/{name}"
print(guest.serve(None, boot=boot == "boot"))
"""
JOB = "Job_7_alice_app_1"
META = {"cumulus_job": JOB, "cumulus_storage": "10.0.2.2 2049", "cumulus_worker": "job-7"}


@dataclass
class Guest:
    """A machine's service and the script beside it."""

    worker: Worker
    service: "subprocess.Popen[str]"
    script: Path

    def call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["sh", str(self.script), *words], capture_output=True, text=True, timeout=20, check=False)

    def start(self, job: str = JOB, nfs: str = "10.0.2.2") -> "subprocess.CompletedProcess[str]":
        return self.call("start", "--nfs", nfs, "--port", "2049", "--job", job)

    def said(self) -> str:
        """The next line on the machine's console."""
        assert self.service.stdout is not None
        return self.service.stdout.readline().strip()


@contextmanager
def serving(worker: Worker, boot: str = "") -> Iterator[Guest]:
    """A machine that has started, with the service on it."""
    pipes = worker.root / "pipes"
    pipes.mkdir(exist_ok=True)
    (pipes / "answers").unlink(missing_ok=True)
    script = worker.root / "cumulus-worker"
    script.write_text((FILES / "cumulus-worker").read_text().replace("/run/cumulus-job", str(pipes)))
    command = [sys.executable, "-c", SERVICE, str(FILES), str(worker.root), str(pipes), boot]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        wait_until((pipes / "answers").exists)
        yield Guest(worker, service, script)
        service.terminate()
        assert service.wait(20) == 0


@pytest.fixture
def guest(worker: Worker) -> Iterator[Guest]:
    with serving(worker) as one:
        yield one


@contextmanager
def booted(worker: Worker, **meta: str) -> Iterator[Guest]:
    """A machine that its cloud has told what it is made for, as soon as it has booted."""
    (worker.root / "meta_data.json").write_text(json.dumps({"uuid": "1", "meta": META | meta}))
    with serving(worker, "boot") as one:
        yield one


def test_a_job_is_started_and_runs_to_its_result(guest: Guest) -> None:
    guest.worker.order("echo hello")
    done = guest.start()
    assert (done.returncode, done.stdout) == (0, "started Job_7_alice_app_1\n")
    wait_until((guest.worker.job / ".cumulus.result").exists)
    assert (guest.worker.lines, guest.worker.result["stage"]) == (["hello"], "done")


def test_who_asks_is_told_whether_a_job_runs(guest: Guest) -> None:
    assert guest.call("status").stdout == "idle\n"
    guest.worker.order("echo begun; sleep 61")
    guest.start()
    assert guest.call("status").stdout == "running Job_7_alice_app_1\n"
    guest.call("stop")
    assert guest.call("status").stdout == "idle\n"


def test_a_second_start_says_so_during_the_job_and_after_it(guest: Guest) -> None:
    guest.worker.order("echo once; while [ ! -e go ]; do sleep 0.02; done")
    guest.start()
    wait_until(lambda: guest.worker.lines)
    again = guest.start()
    other = guest.start("Job_8_bob_app_1")
    assert (again.returncode, again.stdout[:15]) == (0, "already started")
    assert (other.returncode, "at work for Job_7" in other.stderr) == (1, True)
    (guest.worker.work / "output" / "go").touch()
    wait_until((guest.worker.job / ".cumulus.result").exists)
    time.sleep(0.2)
    assert guest.start().stdout.startswith("already started")
    assert guest.worker.lines == ["once"]


def test_a_storage_of_ipv6_is_handed_on(guest: Guest) -> None:
    guest.worker.order("echo fine")
    assert guest.start(nfs="fd00:61::1").returncode == 0


def test_what_goes_wrong_before_the_start_is_told(guest: Guest) -> None:
    missing, away = guest.start("Job_9_nobody_1"), guest.start(nfs="away")
    assert (missing.returncode, "no plan" in missing.stderr) == (1, True)
    assert (away.returncode, "No route to host" in away.stderr) == (1, True)
    guest.worker.order("echo fine")
    assert guest.start().returncode == 0


def test_a_stop_ends_the_job_and_gives_the_storage_back(guest: Guest) -> None:
    guest.worker.order("echo $$; sleep 61")
    guest.start()
    wait_until(lambda: guest.worker.lines)
    assert guest.call("stop").returncode == 0
    assert guest.worker.result["message"] == "stopped"
    assert not runs(int(guest.worker.lines[0]))
    assert (guest.worker.root / "unmounted").exists()
    assert guest.call("stop").returncode == 0


def test_the_end_of_the_service_is_the_end_of_its_job(guest: Guest) -> None:
    guest.worker.order("echo $$; sleep 61")
    guest.start()
    wait_until(lambda: guest.worker.lines)
    guest.service.send_signal(signal.SIGTERM)
    assert guest.service.wait(10) == 0
    assert guest.worker.result["message"] == "stopped"


def test_a_machine_starts_the_job_that_it_was_made_for_and_no_order_starts_it_again(worker: Worker) -> None:
    worker.order("echo once; while [ ! -e go ]; do sleep 0.02; done")
    with booted(worker) as guest:
        assert guest.said() == f"started {JOB}"
        wait_until(lambda: worker.lines)
        assert guest.call("status").stdout == f"running {JOB}\n"
        assert guest.start().stdout == f"already started: {JOB}\n"
        (worker.work / "output" / "go").touch()
        wait_until((worker.job / ".cumulus.result").exists)
    assert worker.lines == ["once"]


def test_a_machine_that_boots_once_more_does_not_start_its_job_again(worker: Worker) -> None:
    worker.order("echo once")
    with booted(worker) as guest:
        assert guest.said() == f"started {JOB}"
        wait_until((worker.job / ".cumulus.result").exists)
    with booted(worker) as guest:
        assert guest.said() == "already started: attempt 1 was started before"
    assert worker.lines == ["once"]


@pytest.mark.parametrize("job", ["", JOB])
def test_a_machine_that_was_made_for_no_job_waits_for_orders(worker: Worker, job: str) -> None:
    worker.order("echo hello")
    with booted(worker, cumulus_job="") as guest:
        assert guest.said() == "this machine waits for orders"
        assert guest.call("status").stdout == "idle\n"
        if job:
            assert guest.start(job).stdout == f"started {JOB}\n"
            wait_until((worker.job / ".cumulus.result").exists)
    assert worker.lines == (["hello"] if job else [])


def test_a_machine_starts_no_attempt_that_is_another_machine_s(worker: Worker) -> None:
    worker.order("echo hello", attempt=2, worker="job-7-2")
    with booted(worker) as guest:
        assert guest.said() == "the job's plan is for job-7-2, and this is job-7"
        wait_until(lambda: guest.call("status").stdout == "idle\n")
    assert not list(worker.job.glob(".cumulus.attempt.*"))


def test_a_machine_does_not_start_a_job_that_was_cancelled_meanwhile(worker: Worker) -> None:
    worker.order("echo hello")
    (worker.job / ".cumulus.stop").touch()
    with booted(worker) as guest:
        assert guest.said() == f"{JOB} is not wanted any more"
    assert not list(worker.job.glob(".cumulus.attempt.*"))


def test_orders_that_nobody_can_obey_are_told_and_another_is_taken(worker: Worker) -> None:
    worker.order("echo hello")
    with booted(worker, cumulus_storage="somewhere") as guest:
        assert guest.said().startswith("these are no orders")
        assert guest.start().stdout == f"started {JOB}\n"
        wait_until((worker.job / ".cumulus.result").exists)


def test_an_order_does_not_wait_for_what_the_machine_waits_for_and_starts_nothing_twice(worker: Worker) -> None:
    worker.order("echo once; while [ ! -e go ]; do sleep 0.02; done")
    (worker.root / "no-network").touch()
    with booted(worker) as guest:
        assert guest.call("status").stdout == "starting\n"
        assert guest.start(nfs="away").stderr.endswith("No route to host\n")
        assert guest.call("status").stdout == "idle\n"
        assert guest.start().stdout == f"started {JOB}\n"
        (worker.root / "no-network").unlink()
        assert guest.start().stdout == f"already started: {JOB}\n"
        (worker.work / "output" / "go").touch()
        wait_until((worker.job / ".cumulus.result").exists)
    assert worker.lines == ["once"]


def test_a_machine_that_was_told_to_stop_before_it_began_never_begins(worker: Worker) -> None:
    worker.order("echo hello")
    (worker.root / "no-network").touch()
    with booted(worker) as guest:
        assert guest.call("status").stdout == "starting\n"
        assert guest.call("stop").stdout == "stopped\n"
        (worker.root / "no-network").unlink()
        assert guest.call("status").stdout == "idle\n"
    with booted(worker) as guest:  # the service is started again
        assert guest.said() == "this machine was told to stop"
    assert not list(worker.job.glob(".cumulus.attempt.*"))


def test_nonsense_in_the_pipe_is_answered_and_harmless(guest: Guest) -> None:
    pipes = guest.worker.root / "pipes"
    with (pipes / "answers").open() as answers:
        (pipes / "orders").write_text("hello\n12 start ; rm -rf /\n")
        assert [answers.readline().split()[:2], answers.readline().split()[:2]] == [["0", "failed"], ["12", "failed"]]
    guest.worker.order("true")
    assert guest.start().returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("begin",),
        ("stop", "now"),
        ("start",),
        ("start", "--nfs", "host", "--port", "1"),
        ("start", "--nfs", "host", "--port", "1", "--job"),
        ("start", "--nfs", "a;b", "--port", "1", "--job", "Job_1"),
        ("start", "--nfs", "host", "--port", "1x", "--job", "Job_1"),
        ("start", "--nfs", "host", "--port", "123456", "--job", "Job_1"),
        ("start", "--nfs", "host", "--port", "1", "--job", "../etc"),
        ("boot",),
        ("start", "--nfs", "host", "--port", "1", "--job", ".ssh"),
        ("start", "--nfs", "host", "--port", "1", "--job", "a\nb"),
    ],
)
def test_the_script_refuses_what_it_does_not_know(words: tuple[str, ...]) -> None:
    done = subprocess.run(["sh", str(FILES / "cumulus-worker"), *words], capture_output=True, text=True, timeout=5, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cumulus-worker: ")


def test_the_guest_programs_need_no_later_python_than_3_9() -> None:
    for path in [FILES / "cumulus-runner", FILES / "cumulus-identity", *(FILES / "cumulus_runner").glob("*.py")]:
        ast.parse(path.read_text(), feature_version=(3, 9))
