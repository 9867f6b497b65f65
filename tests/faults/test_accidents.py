"""Accidents of the computer that a controller runs on, and of a cloud's bad day; what is lost, run twice or left by them.

Each app's runs are counted by its own ledger, outside of all that the product ever clears.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.db.models import Job
from server.db.settings_store import drain, resume
from server.db.transitions import Change
from server.engine.breaker import read_breaker
from server.states import JobState
from tests.faults.figures import record
from tests.faults.lab import Lab, wait
from tests.faults.promises import check

DAY_S = 24 * 3600.0
AT_ONCE = 8

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab")
    yield made
    made.end()


def proved(lab: Lab, accident: str, jobs: int) -> None:
    """All promises hold; what happened is counted for docs/reliability.md."""
    lab.settle()
    check(lab)
    with lab.rows():
        names = [job.description for job in Job.select()]
    assert len(names) == jobs, names
    record("accident", re.sub("[^a-z0-9]+", "-", accident), what=accident, jobs=jobs, runs=sum(map(lab.runs, names)))


def result(lab: Lab, name: str) -> str:
    job = lab.job_of(name)
    assert job is not None
    return (lab.storage.folder(job.folder).output / "result.txt").read_text()


@pytest.mark.parametrize("days", [100, -100])
def test_a_clock_that_is_wrong_at_one_start_loses_nothing(lab: Lab, days: int) -> None:
    """Results and shared data are there after it, what waited waits, what ran goes on, and nothing runs again."""
    shared = lab.storage.data / "shared.dat"
    lab.start()
    shared.write_text("chosen")
    lab.submit("done", inputs=["/home/ada/shared.dat"])
    assert lab.reach("done") == JobState.DONE
    lab.submit("waits", arrives=False)
    lab.submit("runs", seconds=20)
    lab.reach("runs", JobState.RUNNING)
    lab.kill()
    lab.clock_s = days * DAY_S
    lab.revive()
    lab.submit("then")
    assert lab.reach("then") == JobState.DONE
    said = "the computer's clock was set"
    wait(lambda: said in lab.log(), 30, lab.log)
    assert (lab.state_of("done"), lab.state_of("waits")) == (JobState.DONE, JobState.UPLOADING)
    lab.kill()
    lab.clock_s = 0.0
    lab.revive()
    assert lab.reach("runs") == JobState.DONE
    lab.arrive("waits")
    assert lab.reach("waits") == JobState.DONE
    assert [result(lab, name) for name in ("done", "then")] == ["done\n", "then\n"]
    assert shared.read_text() == "chosen"
    assert [lab.runs(name) for name in ("done", "waits", "runs", "then")] == [1] * 4
    proved(lab, f"clock {abs(days)} days {'ahead' if days > 0 else 'behind'} at one start", jobs=4)


def test_eight_machines_that_fail_at_once_are_eight_failures(lab: Lab) -> None:
    lab.given = {"breaker_failures": 5, "breaker_pause_s": 3.0, "retry_delay_s": 0.2}
    lab.plan("terraform", *["fail apply"] * AT_ONCE)
    names = [f"job-{number}" for number in range(AT_ONCE)]
    lab.start()
    with lab.rows():
        drain("until all wait", Change(time.time()))
    for name in names:
        lab.submit(name)
    wait(lambda: all(lab.state_of(name) == JobState.QUEUED for name in names), 60, lab.log)
    with lab.rows():
        resume(Change(time.time()))
    most = 0

    def all_failed() -> bool:
        nonlocal most
        with lab.rows():
            most = max(most, read_breaker().failures)
        return most >= AT_ONCE

    wait(all_failed, 60, lab.log)
    assert most == AT_ONCE
    assert [lab.reach(name) for name in names] == [JobState.DONE] * AT_ONCE
    assert [lab.runs(name) for name in names] == [1] * AT_ONCE
    proved(lab, "eight machines that could not be made at once", jobs=AT_ONCE)


def test_a_cleaning_that_is_killed_and_a_restoring_run_nothing_again(lab: Lab) -> None:
    """What was archived comes back with its result, and its app has run once."""
    lab.to_die_at = ["job:done>archived:after"]
    lab.start()
    lab.submit("one")
    assert lab.reach("one") == JobState.DONE
    lab.settle()
    with lab.rows():
        Job.update(ended=Job.ended - 365 * DAY_S).execute()
    lab.command("storage", "clean", "--yes")
    assert lab.kills == 1
    lab.command("storage", "clean", "--yes")
    assert lab.state_of("one") == JobState.ARCHIVED
    lab.kill()
    lab.revive()
    assert "again, with what it had" in lab.command("storage", "restore", "1")
    assert (lab.state_of("one"), result(lab, "one"), lab.runs("one")) == (JobState.DONE, "one\n", 1)
    proved(lab, "cleaning killed between the row and the files", jobs=1)
