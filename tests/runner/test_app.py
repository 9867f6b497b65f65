"""The app's run as seen in the job's folder."""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.runner.conftest import Worker, runs, wait_until

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def test_a_good_run_is_done_and_leaves_all_its_signs(worker: Worker) -> None:
    result = worker.run("echo hello")
    assert (result["stage"], result["exit_code"], result["message"], result["attempt"]) == ("done", 0, "", 1)
    assert result["started"] <= result["ended"] <= time.time()
    assert worker.lines == ["hello"]
    assert {"alive", "pid", "host", "attempt.1", "result"} <= {
        name.name.removeprefix(".cumulus.") for name in worker.job.iterdir()
    }
    assert abs(float((worker.job / ".cumulus.alive").read_text()) - time.time()) < 60


def test_errors_are_marked_and_borrowed_prefixes_are_not_believed(worker: Worker) -> None:
    worker.run("echo '[INFO] mine'; echo '[SERVER] mine'; echo '[STDERR] mine'; echo ' [INFO] indented'; echo bad >&2")
    assert [line for line in worker.lines if "mine" in line] == [" [INFO] mine", " [SERVER] mine", " [STDERR] mine"]
    assert " [INFO] indented" in worker.lines
    assert "[STDERR] bad" in worker.lines


def test_the_machine_is_measured_from_the_start(worker: Worker) -> None:
    worker.run("true")
    first = next(line for line in worker.log.splitlines() if line.startswith("[INFO]"))
    assert re.fullmatch(rf"\[INFO\] {STAMP};CPU:\d+\.\d%;RAM:\d+\.\d%", first)
    assert re.search(rf"^\[SERVER\] {STAMP} - \S", worker.log, re.MULTILINE)


def test_garbage_and_endless_lines_do_no_harm(worker: Worker) -> None:
    result = worker.run(r"printf '\377\376\001\033[31mred\033[0m\n'; head -c 3000000 /dev/zero | tr '\0' x; printf '\nafter\n'")
    assert result["exit_code"] == 0
    assert worker.lines[0] == "\ufffd\ufffd\ufffdred"
    assert worker.lines[-1] == "after"
    assert sum(line.count("x") for line in worker.lines) == 3000000
    assert max(map(len, worker.lines)) <= 65536


def test_the_app_finds_its_folders_and_nothing_of_ours(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_SECRET", "x")
    worker.run('pwd; echo "$HOME $TMPDIR"; env | grep -c CUMULUS; cat; ls ..')
    assert worker.lines[:3] == [str(worker.work / "output"), f"{worker.work}/temp {worker.work}/temp", "0"]
    assert {"input", "output", "temp"} <= set(worker.lines)


def test_lines_arrive_while_the_app_runs(worker: Worker) -> None:
    worker.order("echo first; while [ ! -e go ]; do sleep 0.02; done")
    assert worker.start().returncode == 0
    wait_until(lambda: "first" in worker.lines, limit_s=2)
    (worker.work / "output" / "go").touch()
    wait_until((worker.job / ".cumulus.result").exists)
    assert worker.log.endswith("- done\n")


def test_a_failed_app_says_why(worker: Worker) -> None:
    result = worker.run("echo all fine; echo no such enzyme >&2; exit 3")
    assert (result["stage"], result["exit_code"]) == ("app", 3)
    assert result["message"] == "exit code 3; last lines: no such enzyme"


@pytest.mark.parametrize(("command", "text"), [("kill -9 $$", "out of memory?"), ("kill -11 $$", "killed by signal 11")])
def test_a_killed_app_says_by_what(worker: Worker, command: str, text: str) -> None:
    result = worker.run(command)
    assert result["stage"] == "app"
    assert result["exit_code"] > 128
    assert text in result["message"]


def test_what_the_app_leaves_running_ends_with_it(worker: Worker) -> None:
    begin = time.monotonic()
    worker.run("sleep 61 & echo $!")
    assert time.monotonic() - begin < 8
    assert not runs(int(worker.lines[0]))


def test_the_controller_can_stop_it_through_the_folder(worker: Worker) -> None:
    worker.order("echo $$; sleep 61")
    worker.start()
    wait_until(lambda: worker.lines)
    (worker.job / ".cumulus.stop").touch()
    wait_until((worker.job / ".cumulus.result").exists)
    assert (worker.result["message"], worker.result["stage"]) == ("stopped", "stopped")
    assert not runs(int(worker.lines[0]))


def test_a_signal_stops_it_in_order(worker: Worker) -> None:
    worker.order("trap 'echo going; exit 5' TERM; echo up; while :; do sleep 0.1; done")
    process = subprocess.Popen(worker.command("--foreground"), stdout=subprocess.DEVNULL)
    wait_until(lambda: "up" in worker.lines)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert (worker.result["message"], worker.result["exit_code"]) == ("stopped", 5)
    assert "going" in worker.lines


@pytest.mark.parametrize(
    ("tag", "seen"),
    [("Finished in \\d+ s", True), ("one\\nFinished", True), ("never", False), (None, None), ("app has started", False)],
)
def test_the_end_tag_is_looked_for_in_what_the_app_said(worker: Worker, tag: str | None, seen: bool | None) -> None:
    result = worker.run("echo one; echo Finished in 3 s", end_tag=tag)
    assert result["end_tag_seen"] is seen
    assert (result["stage"], result["exit_code"]) == ("done", 0)
    assert result["message"].startswith("exit code 0, end tag not seen: ") is (seen is False)


@pytest.mark.parametrize(("tag", "told"), [("Fin", ", end tag seen"), ("never", ", end tag not seen"), (None, "")])
def test_a_failure_says_the_exit_code_and_whether_the_end_tag_was_seen(worker: Worker, tag: str | None, told: str) -> None:
    result = worker.run("echo Finished; exit 3", end_tag=tag)
    assert (result["stage"], result["message"]) == ("app", f"exit code 3{told}; last lines: Finished")


def test_the_end_tag_may_be_on_stderr_or_in_a_file(worker: Worker) -> None:
    assert worker.run("echo all done >&2", end_tag="^all done$", end_tag_location="%stderr%")["end_tag_seen"] is True
    found = worker.run("mkdir d; echo all done > d/report", attempt=2, end_tag="done", end_tag_location="d/report")
    assert found["end_tag_seen"] is True
    missing = worker.run("true", attempt=3, end_tag="root", end_tag_location="../../../../../../../../../etc/passwd")
    assert missing["end_tag_seen"] is False


def test_a_broken_end_tag_is_the_apps_fault(worker: Worker) -> None:
    result = worker.run("true", end_tag="(")
    assert result["stage"] == "app"
    assert "end tag" in result["message"]


def test_a_second_attempt_goes_on_in_the_same_log(worker: Worker) -> None:
    worker.run("echo one; exit 1")
    with (worker.job / ".cumulus.log").open("a") as log:
        log.write("torn")
    result = worker.run("echo two", attempt=2)
    assert (result["attempt"], result["stage"]) == (2, "done")
    assert worker.lines == ["one", "torn", "two"]


def test_a_hanging_storage_does_not_hold_up_the_app(worker: Worker) -> None:
    host = worker.job / ".cumulus.host"
    os.mkfifo(host)  # who opens it for writing hangs until somebody reads
    worker.order("echo said; touch finished")
    worker.start()
    wait_until((worker.work / "output" / "finished").exists)
    assert not (worker.job / ".cumulus.result").exists()
    reader = threading.Thread(target=host.read_bytes, daemon=True)
    reader.start()
    wait_until((worker.job / ".cumulus.result").exists)
    reader.join(5)
    assert worker.lines == ["said"]
    assert (worker.job / "output" / "finished").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_app_runs_as_its_user_and_the_log_is_not_its_own(worker: Worker, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    worker.options += ["--user", "nobody"]
    result = worker.run("id -un; id -Gn; umask; echo x > result; echo forged >> ../log || echo no")
    assert result["stage"] == "done"
    assert worker.lines[:3] == ["nobody", "nogroup", "0022"]
    assert "no" in worker.lines
    assert (worker.job / "output" / "result").read_text() == "x\n"


def test_an_unknown_user_is_refused_before_anything_begins(worker: Worker) -> None:
    worker.order("true")
    done = worker.start("--user", "no-such-user")
    assert done.returncode == 1
    assert "no-such-user" in done.stderr
    assert not (worker.job / ".cumulus.attempt.1").exists()
