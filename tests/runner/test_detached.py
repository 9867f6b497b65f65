"""Starting and stopping a job on this computer itself."""

import os
import signal
import subprocess
import time
from pathlib import Path

from cumulus_runner import processes
from cumulus_runner.detached import NICE

from tests.runner.conftest import Worker, runs, wait_until


def runner_of(worker: Worker) -> int:
    return int((worker.work / "runner.pid").read_text().split()[0])


def test_a_start_returns_at_once_and_the_job_goes_on_alone(worker: Worker) -> None:
    worker.order("sleep 0.5; echo end")
    begin = time.monotonic()
    done = worker.start()
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert time.monotonic() - begin < 3
    pid = runner_of(worker)
    assert os.getsid(pid) == pid
    wait_until((worker.job / ".cumulus.result").exists)
    assert worker.result["stage"] == "done"


def test_a_job_of_this_computer_goes_after_its_controller(worker: Worker) -> None:
    worker.order("nice; sleep 60")
    own = int(subprocess.run(["nice"], stdout=subprocess.PIPE, check=True).stdout)
    worker.start()
    wait_until(lambda: worker.lines)
    assert worker.lines == [str(min(own + NICE, 19))]
    worker.stop()


def test_a_second_start_changes_nothing(worker: Worker) -> None:
    worker.order("echo once; while [ ! -e go ]; do sleep 0.02; done")
    worker.start()
    wait_until(lambda: worker.lines)
    again = worker.start()
    assert again.returncode == 0
    assert again.stdout.startswith("already started")
    (worker.work / "output" / "go").touch()
    wait_until((worker.job / ".cumulus.result").exists)
    after = worker.start()
    assert (after.returncode, after.stdout[:15]) == (0, "already started")
    assert worker.lines == ["once"]


def test_a_stop_ends_the_job_with_a_result(worker: Worker) -> None:
    worker.order("echo $$; sleep 61")
    worker.start()
    wait_until(lambda: worker.lines)
    assert worker.stop().stdout == "stopped\n"
    assert worker.result["message"] == "stopped"
    assert not runs(runner_of(worker))
    assert not runs(int(worker.lines[0]))


def test_who_asks_is_told_whether_the_job_runs(worker: Worker) -> None:
    assert worker.status() == "idle"
    worker.order("echo begun; sleep 61")
    worker.start()
    assert worker.status() == "running"
    os.kill(runner_of(worker), signal.SIGKILL)
    wait_until(lambda: worker.status() == "idle")
    worker.stop()


def test_a_stop_where_nothing_runs_succeeds(worker: Worker) -> None:
    assert worker.stop().returncode == 0
    worker.run("true")
    assert (worker.stop().returncode, worker.stop().stdout) == (0, "nothing runs\n")


def test_a_stop_ends_the_app_of_a_runner_that_was_killed(worker: Worker) -> None:
    worker.order("echo $$; exec sleep 61")
    worker.start()
    wait_until(lambda: worker.lines)
    os.kill(runner_of(worker), 9)
    worker.stop()
    wait_until(lambda: not runs(int(worker.lines[0])))


def test_a_number_that_was_used_again_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "pid"
    record.write_text(processes.describe(os.getpid()))
    assert processes.recorded(str(record)) == os.getpid()
    record.write_text(f"{os.getpid()} 12345\n")
    assert processes.recorded(str(record)) is None
    assert processes.end(str(record), 1) is False


def test_a_plan_that_cannot_be_read_is_refused_and_may_be_started_later(worker: Worker) -> None:
    (worker.job / ".cumulus.plan").write_text("{")
    refused = worker.start()
    assert refused.returncode == 1
    assert "plan" in refused.stderr
    worker.order("true")
    (worker.job / ".cumulus.cmd").unlink()
    assert worker.start().returncode == 1
    worker.order("true")
    assert worker.start().stdout == "started\n"
    wait_until((worker.job / ".cumulus.result").exists)


def test_a_missing_job_folder_is_told(worker: Worker) -> None:
    done = worker.start("--job-dir", str(worker.root / "none"))
    assert done.returncode == 1
    assert "none" in done.stderr
