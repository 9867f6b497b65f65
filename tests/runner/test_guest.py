"""The service on a virtual machine and the script that speaks to it, with folders in the place of mounts."""

import ast
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runner.conftest import FILES, Worker, runs, wait_until

# The service as it is, but for what only root on a machine of its own can do.
SERVICE = """
import sys
sys.path.insert(0, sys.argv[1])
from cumulus_runner import guest, mounts
from cumulus_runner.errors import RunnerError
root, pipes = sys.argv[2:]
def mount_storage(server, port):
    if server == "away":
        raise RunnerError(f"the storage at {server}:{port} cannot be mounted: No route to host")
guest.PIPES, guest.WORK, mounts.DATA, mounts.JOB = pipes, root + "/work", root + "/data", root + "/jobs/Job_7_alice_app_1"
mounts.mount_storage, mounts.hide_writable_job = mount_storage, lambda: None
mounts.unmount_all = lambda: open(root + "/unmounted", "w").close()
mounts.show_job = lambda name: f"{root}/jobs/{name}"
print(guest.serve(None))
"""


@dataclass
class Guest:
    """A machine's service and the script beside it."""

    worker: Worker
    service: "subprocess.Popen[str]"
    script: Path

    def call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["sh", str(self.script), *words], capture_output=True, text=True, timeout=20, check=False)

    def start(self, job: str = "Job_7_alice_app_1", nfs: str = "10.0.2.2") -> "subprocess.CompletedProcess[str]":
        return self.call("start", "--nfs", nfs, "--port", "2049", "--job", job)


@pytest.fixture
def guest(worker: Worker, tmp_path: Path) -> Iterator[Guest]:
    pipes = tmp_path / "pipes"
    pipes.mkdir()
    script = tmp_path / "cumulus-worker"
    script.write_text((FILES / "cumulus-worker").read_text().replace("/run/cumulus-job", str(pipes)))
    command = [sys.executable, "-c", SERVICE, str(FILES), str(tmp_path), str(pipes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        wait_until((pipes / "answers").exists)
        yield Guest(worker, service, script)
        service.terminate()
        assert service.wait(20) == 0


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
