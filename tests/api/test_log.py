"""A job's log over REST: the phases before the run and all of a long one."""

import json
from pathlib import Path

import pytest

from server.app import Controller
from server.db.models import Change, Job, record_event, transition
from server.states import JobState
from server.storage.logs.job_log import LOG_HEAD_BYTES, LOG_TAIL_BYTES
from tests.api.test_desktop import Wire, wire
from tests.conftest import submission

__all__ = ["wire"]

BEGUN = "[SERVER] 2033-05-18 03:33:20 UTC - job 1, attempt 1, on job-1\n"


@pytest.fixture
def log(controller: Controller) -> Path:
    """The log of job 1, which is PREPARING."""
    job = controller.jobs.submit(*submission())
    assert job.id == 1
    for at, (old, new) in enumerate([("uploading", "queued"), ("queued", "provisioning"), ("provisioning", "starting")]):
        assert transition(Job, 1, JobState(old), JobState(new), Change(job.created + at, text=f"attempt 1: {new}"))
    Job.update(attempt=1).where(Job.id == 1).execute()
    return controller.storage.folder(job.folder).log_path


def shown(wire: Wire) -> list[str]:
    return str(wire.get("/joblist/1/1")[0]["log"]).splitlines()


def test_a_job_that_is_preparing_tells_its_phases(wire: Wire, log: Path) -> None:
    assert [line.partition(" UTC - ")[2] for line in shown(wire)] == [
        "Job 1 was submitted: probe_1.0 on a machine of size m1.4xlarge",
        "The job waits for a machine",
        "A machine of size m1.4xlarge is being made",
        "The machine is there; it gets the storage and the job",
    ]
    assert all(line.startswith("[SERVER] 20") for line in shown(wire))


def test_a_note_is_markup_no_more_than_the_rest(wire: Wire, log: Path) -> None:
    record_event(Job, 1, Change(2_000_000_100.0, text="your <b>a.raw</b> is another\n[INFO] than x"))
    assert shown(wire)[-2:] == ["[SERVER] 2033-05-18 03:35:00 UTC - your &lt;b&gt;a.raw&lt;/b&gt; is another", " [INFO] than x"]


@pytest.mark.parametrize("lines", [0, 3, 200_000])
def test_all_of_a_log_can_be_fetched_in_parts(wire: Wire, log: Path, lines: int) -> None:
    log.write_text(BEGUN + "a line <of> the app & é\n" * lines)
    status, headers, whole = wire.send("GET", "/log/ada/1")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; charset=utf-8")
    assert headers["content-length"] == str(len(whole))
    assert "job-1.log" in headers["content-disposition"]
    assert headers["x-content-type-options"] == "nosniff"
    text = whole.decode()
    assert text.count("a line <of> the app & é\n") == lines
    assert text.index("is being made") < text.index("job 1, attempt 1")
    size = len(whole)
    for first, last in ((0, 10), (size // 2, size - 1), (size - 20, size + 100), (100, 700)):
        status, headers, part = wire.send("GET", "/log/ada/1", headers={"Range": f"bytes={first}-{last}"})
        assert (status, part) == (206, whole[first : last + 1])
        assert headers["content-range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
    assert wire.send("GET", "/log/ada/1", headers={"Range": "bytes=-7"})[2] == whole[-7:]
    assert wire.send("GET", "/log/ada/1", headers={"Range": f"bytes={size + 1}-"})[0] == 416


def test_what_the_client_shows_of_a_long_log_is_whole_lines_within_the_limit(wire: Wire, log: Path) -> None:
    point = "[INFO] 2033-05-18 03:33:20 UTC;CPU:1.0%;RAM:1.0%\n"
    log.write_text(BEGUN + (point + "é" * 50 + "\n") * 30_000)
    lines = shown(wire)
    assert sum(len(line.encode()) + 1 for line in lines) < LOG_HEAD_BYTES + LOG_TAIL_BYTES + 2000
    assert {line for line in lines if not line.startswith("[SERVER] ")} == {point.rstrip(), "é" * 50}


def test_nobody_gets_the_log_of_another_or_of_no_job(wire: Wire, log: Path) -> None:
    log.write_text(BEGUN)
    for target in ("/log/eve/1", "/log/ada/2", "/log/ada/x", "/log/ada/..%2F1"):
        status, _, body = wire.send("GET", target)
        assert status in (400, 404), target
        assert "error" in json.loads(body)


def test_a_log_that_does_not_exist_yet_is_its_phases(wire: Wire, log: Path) -> None:
    assert wire.send("GET", "/log/ada/1")[2].decode().splitlines() == shown(wire)
