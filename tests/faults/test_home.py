"""Every file below the home is damaged in every way, before a start and while the controller runs: jobs go on."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.states import JobState
from tests.faults.home import KINDS, Outcome, files, row_of
from tests.faults.lab import Lab, wait
from tests.faults.promises import check

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
# As root, but with no more rights than the files' owner has.
OWNER_S_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
SAID_LIMIT_S = 30.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab")
    if os.geteuid() == 0 and shutil.which("setpriv"):
        made.before = OWNER_S_RIGHTS
    yield made
    made.end()


def test_every_file_of_a_home_has_a_row(lab: Lab) -> None:
    lab.start()
    lab.submit("done")
    lab.submit("failed", code=3)
    assert (lab.reach("done"), lab.reach("failed")) == (JobState.DONE, JobState.FAILED)
    lab.submit("running", seconds=600)
    lab.reach("running", JobState.RUNNING)
    uncovered = {name for path in files(lab.settings.home) if row_of(name := below(lab, path)) is None}
    lab.cancel("running")
    lab.settle()
    uncovered |= {name for path in files(lab.settings.home) if row_of(name := below(lab, path)) is None}
    assert uncovered == set(), "add a row to tests/faults/home.py and a line to docs/operations.md"


@pytest.mark.parametrize(
    "kinds",
    [
        ("garbage", "fifo"),
        pytest.param(("folder", "missing", "dangling"), marks=pytest.mark.long),
        pytest.param(("empty", "read_only", "foreign"), marks=pytest.mark.long),
    ],
)
def test_damaged_files_stop_no_job_lose_none_and_leave_nothing(lab: Lab, kinds: tuple[str, ...]) -> None:
    """In each life the files are damaged while the controller runs, and again after it was killed."""
    if "foreign" in kinds and os.geteuid() != 0:
        kinds = kinds[:-1]
    lab.given = {"heartbeat_timeout_s": 6.0}
    lab.start()
    for kind in kinds:
        for moment in ("running", "start"):
            lab.submit(f"long-{kind}-{moment}", seconds=4)
            lab.reach(f"long-{kind}-{moment}", JobState.RUNNING)
            begin = len(lab.whole_log())
            if moment == "start":
                lab.kill()
            expected = damage(lab, kind, moment)
            if moment == "start":
                lab.start()
            lab.submit(f"after-{kind}-{moment}")
            assert lab.reach(f"after-{kind}-{moment}") == JobState.DONE, (kind, moment, lab.log())
            assert lab.reach(f"long-{kind}-{moment}") == JobState.DONE, (kind, moment, lab.log())
            lab.settle()
            for name, pattern in expected:
                wait(
                    lambda pattern=pattern, begin=begin: re.search(pattern, lab.whole_log()[begin:]) is not None,
                    SAID_LIMIT_S,
                    lambda name=name, kind=kind, moment=moment: f"{name}, {kind}, {moment}: nothing is said\n{lab.log()}",
                )
    assert lab.stop() < 20
    assert "Traceback" not in lab.whole_log()
    check(lab)


@pytest.mark.parametrize("kind", ["read_only", "folder", "foreign"])
def test_a_database_that_cannot_be_written_is_made_writable_or_named_in_one_line(lab: Lab, kind: str) -> None:
    if not lab.before:
        pytest.skip("only root makes a file another user's, and may do without its rights")
    KINDS[kind](lab.settings.database)
    if kind == "read_only":
        lab.start()
        lab.submit("one")
        assert lab.reach("one") == JobState.DONE
        assert "Traceback" not in lab.whole_log()
        return
    command = [*lab.before, str(Path(sys.executable).with_name("cumulus")), "serve"]
    done = subprocess.run(command, env=lab.environment(), capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("timestamp=")]
    assert (done.returncode, len(said), said[0].startswith("cumulus: ") and str(lab.settings.database) in said[0]) == (
        1,
        1,
        True,
    ), done.stderr


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_machine_whose_own_files_are_damaged_ends_with_a_reason_and_is_removed(lab: Lab, kind: str) -> None:
    """The local cloud's machines are folders; what lies in them is the job's own."""
    if kind == "foreign" and os.geteuid() != 0:
        pytest.skip("only root makes a file another user's")
    lab.given = {"heartbeat_timeout_s": 6.0}
    lab.start()
    lab.submit("one", seconds=4)
    lab.reach("one", JobState.RUNNING)
    for path in list(files(lab.settings.home / "local")):
        KINDS[kind](path)
    assert lab.reach("one") in (JobState.DONE, JobState.FAILED)
    lab.submit("two")
    assert lab.reach("two") == JobState.DONE
    lab.settle()
    check(lab)


def damage(lab: Lab, kind: str, moment: str) -> list[tuple[str, str]]:
    """Damage every file that is not tried apart; what the log must say of which."""
    expected = []
    for path in list(files(lab.settings.home)):
        name = below(lab, path)
        row = row_of(name)
        assert row is not None, name
        outcome = row.start if moment == "start" else row.running
        if outcome is Outcome.APART or kind in row.apart or not (path.is_file() or path.is_fifo()):
            continue
        found = re.fullmatch(row.pattern, name)
        assert found is not None
        if outcome is Outcome.HEALS and kind in row.healed:
            worker = found.groupdict().get("worker") or ""
            expected.append((name, row.said.replace("{path}", re.escape(str(path))).replace("{worker}", worker)))
        try:
            KINDS[kind](path)
        except FileNotFoundError:  # it was removed just now
            continue
    return expected


def below(lab: Lab, path: Path) -> str:
    return str(path.relative_to(lab.settings.home))
