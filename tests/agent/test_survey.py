"""When a source is complete: by its times, by what was seen before, by who has it open."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.queue.models import Job, Transfer
from agent.queue.queue import Queue
from agent.queue.states import JobState, TransferState
from agent.sending.children import Children
from agent.serve import Agent
from agent.settings import Settings
from agent.sources.paths import Root, parse
from agent.sources.survey import Snapshot, SourceAway, SourceFile, SourceUnusable, Writers, judge, take
from agent.sources.surveyor import Surveyor
from tests.agent.conftest import Clock, Lab, order

NOW = 1_000_000.0
STABLE_S = 10.0


def seen(modified: float, size: int = 1) -> Snapshot:
    return Snapshot(False, (SourceFile("a.raw", size, int(modified * 1e9)),))


def roots(lab: Lab) -> tuple[Root, ...]:
    return (Root(str(lab.source), (parse(str(lab.source)),)),)


def test_a_source_written_long_ago_is_complete_at_once() -> None:
    assert judge(seen(NOW - 11), "", 0.0, NOW, STABLE_S, None).is_still


def test_a_source_written_a_moment_ago_is_looked_at_again() -> None:
    found = judge(seen(NOW - 3), "", 0.0, NOW, STABLE_S, None)
    assert (found.is_still, found.since) == (False, NOW)


def test_a_source_that_stays_the_same_becomes_complete() -> None:
    snapshot = seen(NOW + 500)  # a clock that is ahead tells nothing
    assert not judge(snapshot, snapshot.fingerprint, NOW - 9, NOW, STABLE_S, None).is_still
    assert judge(snapshot, snapshot.fingerprint, NOW - 10, NOW, STABLE_S, None).is_still


def test_a_source_that_grows_begins_anew() -> None:
    found = judge(seen(NOW, 2), seen(NOW, 1).fingerprint, NOW - 100, NOW, STABLE_S, None)
    assert (found.is_still, found.since) == (False, NOW)


def test_a_source_that_is_held_open_is_not_complete_however_old() -> None:
    found = judge(seen(0), seen(0).fingerprint, 1.0, NOW, STABLE_S, "process 7")
    assert not found.is_still
    assert "process 7" in found.why


def test_a_change_anywhere_in_a_folder_is_seen(lab: Lab) -> None:
    lab.write("x.d/sub/a")
    lab.write("x.d/b")
    before = take(str(lab.source / "x.d"), roots(lab))
    assert before.is_folder
    assert [file.path for file in before.files] == ["x.d/b", "x.d/sub/a"]
    lab.write("x.d/sub/a", "longer than before")
    assert take(str(lab.source / "x.d"), roots(lab)).fingerprint != before.fingerprint


def test_a_root_that_is_away_is_waited_for(lab: Lab) -> None:
    share = lab.top / "share"
    with pytest.raises(SourceAway):
        take(str(share / "a.raw"), (Root(str(share), (parse(str(share)),)),))
    share.mkdir()
    with pytest.raises(SourceUnusable):
        take(str(share / "a.raw"), (Root(str(share), (parse(str(share)),)),))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_program_that_writes_is_seen_and_one_that_reads_is_not(lab: Lab) -> None:
    written, read = lab.write("x.d/written"), lab.write("read.raw")
    script = f"import sys, time; w = open({written!r}, 'ab'); r = open({read!r}, 'rb'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        writers = Writers()
        child.kill()
    assert writers.of(str(lab.source / "x.d")) == f"process {child.pid}"
    assert writers.of(written) == f"process {child.pid}"
    assert writers.of(read) is None
    assert Writers().of(written) is None


@pytest.fixture
def surveyor(agent: Agent, agent_settings: Settings, clock: Clock) -> Surveyor:
    settings = agent_settings.model_copy(update={"stable_s": STABLE_S})
    return Surveyor(settings, agent_settings.places(), agent.queue, Children(agent_settings.home), clock)


def state() -> str:
    return str(Transfer.get().state)


def test_a_file_that_an_instrument_still_writes_waits_until_it_is_done(
    agent: Agent, lab: Lab, surveyor: Surveyor, clock: Clock
) -> None:
    raw = lab.write("a.raw", b"begin", age_s=0)
    order(agent, lab, 1, raw)
    for size in (6, 7, 8):
        surveyor.survey(agent.queue.transfers.to_survey(clock.now + 1))
        assert state() == TransferState.WAITING
        assert "a moment ago" in Transfer.get().message
        lab.write("a.raw", b"x" * size, age_s=0)
        clock.now += 1
    os.utime(raw, (time.time() - 60,) * 2)
    surveyor.survey(agent.queue.transfers.to_survey(clock.now + 1))
    assert state() == TransferState.READY
    assert Transfer.get().bytes == 8


def test_a_file_that_is_written_for_ever_fails_its_job(agent: Agent, lab: Lab, surveyor: Surveyor, clock: Clock) -> None:
    order(agent, lab, 1, lab.write("a.raw", age_s=-100_000))
    clock.now += 7 * 3600
    surveyor.survey(agent.queue.transfers.to_survey(clock.now))
    assert Job.get().state == JobState.FAILING
    assert "a.raw was not complete after" in Job.get().message


def test_a_problem_with_one_source_holds_up_no_other(agent: Agent, lab: Lab, surveyor: Surveyor) -> None:
    order(agent, lab, 1, str(lab.source / "missing.raw"))
    order(agent, lab, 2, lab.write("a.raw"))
    surveyor.survey(Queue().transfers.to_survey(time.time() + 1))
    assert {row.name: row.state for row in Transfer.select()} == {"missing.raw": "failed", "a.raw": "ready"}
    assert Path(lab.source, "a.raw").exists()
