"""A controller as a process: its start, its refusals, its end; and the commands that speak to it."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.errors import SetupMissing
from server.home.controller_lock import only_controller
from server.home.running import AlreadyRunning, running_controller
from server.serve import require_setup
from server.services.doctor import examine
from server.services.principal import Principal
from server.settings import Settings
from server.workers.clouds.local import LocalCloud
from tests.conftest import FLAVORS, TEST_APPS, eventually

pytestmark = pytest.mark.system

CUMULUS = str(Path(sys.executable).with_name("cumulus"))
FORM = {"text": "hello", "seconds": "0", "outcome": "ok", "inputs": ["/far/away/a.txt"]}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An installation of its own on the local cloud."""
    flavors = tmp_path / "flavors.tsv"
    flavors.write_text(FLAVORS)
    own = {
        "CUMULUS_HOME": str(tmp_path / "home"),
        "CUMULUS_CLOUD": "local",
        "CUMULUS_APPS": str(TEST_APPS),
        "CUMULUS_FLAVORS": str(flavors),
        "CUMULUS_MIN_FREE_GB": "0",
        "CUMULUS_PORT": "0",
        "COLUMNS": "200",
    }
    return {**{name: value for name, value in os.environ.items() if not name.startswith("CUMULUS_")}, **own}


def cumulus(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One command, to its end."""
    return subprocess.run([CUMULUS, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def start(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """A controller in the background."""
    return subprocess.Popen(
        [CUMULUS, "serve", "--port", "0", *arguments], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A controller that answers."""
    process = start(environment)
    home = Path(environment["CUMULUS_HOME"])
    eventually(lambda: running_controller(home) is not None or process.poll() is not None)
    yield process
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=30)


def test_it_names_the_apps_that_cannot_be_used_before_it_is_ready(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "broken.xml").write_text("<tool>\n<oops")
    process = start({**environment, "CUMULUS_APPS": str(tmp_path / "apps")})
    assert process.stderr is not None
    said = []
    while not said or "event=ready" not in said[-1]:
        said.append(process.stderr.readline())
    process.terminate()
    process.communicate(timeout=30)
    assert any("an app cannot be used" in line and "broken.xml" in line and "line=2" in line for line in said), said


def test_it_says_ready_with_its_address_answers_and_ends_in_order(environment: dict[str, str]) -> None:
    process = start(environment)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "event=ready" in line)
    url = next(word.removeprefix("url=") for word in line.split() if word.startswith("url="))
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    process.terminate()
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert "event=stopped" in rest
    assert running_controller(Path(environment["CUMULUS_HOME"])) is None


def test_ctrl_c_ends_it_in_order_too(server: "subprocess.Popen[str]") -> None:
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=30)
    assert server.returncode == 0


def test_a_second_controller_on_one_installation_is_refused(server: "subprocess.Popen[str]", environment: dict[str, str]) -> None:
    second = cumulus(environment, "serve", "--port", "0")
    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert str(server.pid) in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_that_is_taken_is_said_and_nothing_runs(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = cumulus(environment, "serve", "--port", str(taken.getsockname()[1]))
    assert refused.returncode == 1
    (said,) = [line for line in refused.stderr.splitlines() if not line.startswith("timestamp=")]
    assert said.startswith("cumulus: cannot listen on 127.0.0.1")
    assert "event=ready" not in refused.stderr


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CUMULUS_PORT", "none", "port"),
        ("CUMULUS_CLOUD", "cumulonimbus", "cloud"),
        ("CUMULUS_ACCELERATOR", "nonsense", "accelerator"),
        ("CUMULUS_MAX_ATTEMPTS", "0", "max_attempts"),
        ("CUMULUS_FLAVORS", "/nowhere/flavors.tsv", "/nowhere/flavors.tsv"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(environment: dict[str, str], variable: str, value: str, words: str) -> None:
    refused = cumulus({**environment, variable: value}, "serve")
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_broken_flavors_are_named_with_their_line(environment: dict[str, str]) -> None:
    Path(environment["CUMULUS_FLAVORS"]).write_text("m1\tmany\t1\t1\nMAX_ACCUMULATED_WEIGHT = 4\n")
    refused = cumulus(environment, "serve")
    assert refused.returncode == 1
    assert "flavors.tsv:1:" in refused.stderr


def test_a_qemu_cloud_without_a_template_says_how_to_get_one(environment: dict[str, str]) -> None:
    refused = cumulus({**environment, "CUMULUS_CLOUD": "qemu"}, "serve", "--port", "0")
    assert refused.returncode == 1
    assert "make template" in refused.stderr or "apt-get install" in refused.stderr
    assert not (Path(environment["CUMULUS_HOME"]) / "cumulus.sqlite").exists()


def test_a_job_from_the_command_line(server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path) -> None:
    form, data = tmp_path / "form.json", tmp_path / "a.txt"
    form.write_text(json.dumps(FORM))
    data.write_text("12345")
    done = cumulus(environment, "submit", "probe_1.0", "--settings", str(form), "--input", str(data), "--owner", "ada", "--wait")
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.split()[0]
    assert "probe done" in done.stdout
    row = json.loads(cumulus(environment, "jobs", "--json").stdout)[0]
    assert (str(row["id"]), row["state"], row["owner"]) == (job_id, "done", "ada")
    shown = json.loads(cumulus(environment, "show", job_id, "--json").stdout)
    assert [name for name, _ in shown["files"]] == ["result.txt"]
    assert shown["events"][-1]["new"] == "done"
    assert "done" in cumulus(environment, "jobs").stdout
    assert "probe started" in cumulus(environment, "logs", job_id).stdout
    again = cumulus(environment, "cancel", job_id, "--owner", "ada")
    assert (again.returncode, again.stdout, again.stderr) == (1, "", f"cumulus: Job {job_id} had already ended\n")


def test_a_job_that_cannot_be_cancelled_is_an_exit_code(
    server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path
) -> None:
    form = tmp_path / "form.json"
    form.write_text(json.dumps({"text": "x", "seconds": "600", "outcome": "ok"}))
    job_id = cumulus(environment, "submit", "probe_1.0", "--settings", str(form), "--owner", "ada").stdout.strip()
    for number, owner, said in ((job_id, "eve", f"there is no job {job_id} of eve"), ("99", "ada", "there is no job 99")):
        refused = cumulus(environment, "cancel", number, "--owner", owner)
        assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"cumulus: {said}\n")
    done = cumulus(environment, "cancel", job_id, "--owner", "ada")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is cancelled" in done.stdout
    assert cumulus(environment, "logs", "-f", job_id).returncode == 3


def test_a_refused_submission_is_an_exit_code_and_leaves_standard_output_empty(
    server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path
) -> None:
    form = tmp_path / "form.json"
    form.write_text(json.dumps({"text": "x", "seconds": "0", "outcome": "ok"}))
    refused = cumulus(environment, "submit", "probe_1.0", "--settings", str(form), "--flavor", "m9.none")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "cumulus: there is no machine size 'm9.none'\n"


def test_what_is_no_file_is_refused_before_there_is_a_job(
    server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path
) -> None:
    form, pipe = tmp_path / "form.json", tmp_path / "a.txt"
    form.write_text(json.dumps(FORM))
    os.mkfifo(pipe)
    failed = cumulus(environment, "submit", "probe_1.0", "--settings", str(form), "--input", str(pipe))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "a.txt is no file" in failed.stderr
    assert json.loads(cumulus(environment, "jobs", "--json").stdout) == []


def test_a_failed_job_is_an_exit_code(server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path) -> None:
    form = tmp_path / "form.json"
    form.write_text(json.dumps({"text": "x", "seconds": "0", "outcome": "fail"}))
    failed = cumulus(environment, "submit", "probe_1.0", "--settings", str(form), "--wait")
    assert failed.returncode == 3
    assert "The app failed." in failed.stderr


def test_commands_without_a_controller_say_so(environment: dict[str, str]) -> None:
    refused = cumulus(environment, "cancel", "1")
    assert refused.returncode == 1
    assert "no controller runs" in refused.stderr


def test_doctor_lists_what_is_there_and_fails_for_what_is_not(environment: dict[str, str]) -> None:
    well = cumulus(environment, "doctor", "--json")
    assert well.returncode == 0, well.stdout
    assert all(finding["ok"] for finding in json.loads(well.stdout))
    other = cumulus({**environment, "CUMULUS_DEFAULT_FLAVOR": "m9.none"}, "doctor")
    assert other.returncode == 1
    assert "has no m9.none, which the desktop client waits for" in other.stdout
    ill = cumulus({**environment, "CUMULUS_FLAVORS": "/nowhere/flavors.tsv"}, "doctor")
    assert ill.returncode == 1
    assert "MISSING  flavors" in ill.stdout


def test_without_terraform_nothing_is_created(settings: Settings, cloud: LocalCloud, no_terraform: None) -> None:
    with pytest.raises(SetupMissing, match="neither terraform nor tofu"):
        require_setup(cloud)
    assert [finding.name for finding in examine(Principal.local_admin("root"), settings) if not finding.ok] == ["terraform"]


def test_stop_ends_the_controller_and_its_machines(
    server: "subprocess.Popen[str]", environment: dict[str, str], tmp_path: Path
) -> None:
    form = tmp_path / "form.json"
    form.write_text(json.dumps({"text": "x", "seconds": "300", "outcome": "ok"}))
    cumulus(environment, "submit", "probe_1.0", "--settings", str(form))
    eventually(lambda: json.loads(cumulus(environment, "jobs", "--json").stdout)[0]["state"] == "running")
    assert len(json.loads(cumulus(environment, "state", "--json").stdout)) == 1
    stopped = cumulus(environment, "stop", "--machines")
    assert stopped.returncode == 0, stopped.stderr
    assert server.wait(10) == 0
    assert json.loads(cumulus(environment, "state", "--json").stdout) == []


def test_a_closed_terminal_ends_it_in_order_however_often_it_is_said(environment: dict[str, str]) -> None:
    ours, terminal = pty.openpty()
    home = Path(environment["CUMULUS_HOME"])
    command = ["env", "--default-signal", CUMULUS, "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    eventually(lambda: running_controller(home) is not None or process.poll() is not None)
    os.close(ours)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
        time.sleep(0.05)
    assert process.wait(30) == 0
    assert running_controller(home) is None
    assert not (home / "controller.json").exists()


def test_one_that_still_starts_or_ends_is_named_by_its_process(tmp_path: Path) -> None:
    starting = pytest.raises(AlreadyRunning, match=rf"\(process {os.getpid()}, which is starting or ending\)")
    with only_controller(tmp_path), starting, only_controller(tmp_path):
        pass


def test_doctor_says_what_machines_run_with(environment: dict[str, str]) -> None:
    given = {**environment, "CUMULUS_CLOUD": "qemu", "CUMULUS_ACCELERATOR": "tcg"}
    found = json.loads(cumulus(given, "doctor", "--json").stdout)
    (accelerator,) = [one for one in found if one["name"] == "accelerator"]
    if shutil.which("qemu-system-x86_64"):
        assert accelerator["ok"]
        assert accelerator["text"] == "machines are emulated, as the setting accelerator (CUMULUS_ACCELERATOR) says"
    else:
        assert "apt-get install qemu-system-x86" in accelerator["text"]
