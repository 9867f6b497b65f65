"""A command that makes something for minutes ends in order, by any signal, also while it waits for another one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cumulus_client.submissions import Submitted
from programs.interruption import ENDING, OUTPUT_LOST, ending_in_order
from server.cli import submit, workflow
from server.cli.main import main
from server.workers.clouds.qemu.images.prewarming import NEXT
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.template_queue import turn

CUMULUS = str(Path(sys.executable).with_name("cumulus"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_snapshot_that_waits_says_for_whom_and_can_be_ended(tmp_path: Path, number: int, code: int) -> None:
    environment = {**os.environ, "CUMULUS_HOME": str(tmp_path), "CUMULUS_CLOUD": "qemu"}
    lock = QemuHome(tmp_path).snapshot_lock
    lock.parent.mkdir()
    with turn(lock, NEXT, print):
        command = ["env", "--default-signal", CUMULUS, "snapshot", "create"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert f"another command (process {os.getpid()}, since " in process.stderr.readline()
        process.send_signal(number)
        words = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert words.strip().endswith("what was being made is given up, the next time begins it anew")


@pytest.fixture
def own_signals() -> Iterator[None]:
    """What a test does about signals ends with it."""
    before = {number: signal.getsignal(number) for number in (*ENDING, OUTPUT_LOST)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Taking:
    """A controller that takes a job while the command is asked to end."""

    def __init__(self) -> None:
        self.cancelled: list[int] = []

    @property
    def submissions(self) -> "Taking":
        return self

    jobs = submissions

    def submit(self, *_: object, **fields: object) -> Submitted:
        os.kill(os.getpid(), signal.SIGTERM)
        return Submitted(id=7, owner=str(fields["owner"]), folder="Job_7")

    def cancel(self, job_id: int) -> str:
        self.cancelled.append(job_id)
        return ""


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("command", [["submit", "comet_2019.015"], ["workflow", "run", "filter_and_search_1.0.0"]], ids=" ".join)
def test_a_job_that_was_taken_while_the_command_was_to_end_is_cancelled(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUMULUS_HOME", str(tmp_path))
    taking = Taking()
    for module in (submit, workflow):
        monkeypatch.setattr(module, "taking_jobs", lambda _settings: taking)
    for name in ("a.mzML", "p.fasta"):
        (tmp_path / name).write_text("x")
    files = ["--input", f"spectra={tmp_path}/a.mzML", "--input", f"database={tmp_path}/p.fasta"]
    with ending_in_order():
        ended = CliRunner().invoke(main, [*command, *files])
    assert (ended.exit_code, taking.cancelled) == (143, [7])
