"""What is in a folder and is not sent, and names that are spelled in two ways."""

import json
import os
import time
import unicodedata
from pathlib import Path

import pytest

from agent.queue.models import Job, Transfer
from agent.queue.states import JobState, TransferState
from agent.sending.children import Children
from agent.sending.staging import Source
from agent.serve import Agent, make_agent
from agent.settings import Settings
from agent.sources.spelling import spelled
from agent.sources.survey import judge, take
from agent.sources.surveyor import Surveyor
from tests.agent.conftest import Lab, job_state, order, settle
from tests.agent.test_sending import bruker, names_in, sending, sent_paths  # noqa: F401  # a fixture
from tests.agent.test_survey import roots

NFC = "Prüfung é.raw"
NFD = unicodedata.normalize("NFD", NFC)
MIXED = "Prüfung " + unicodedata.normalize("NFD", "é.raw")
NOW = 1_000_000.0


def survey(agent: Agent) -> None:
    """Look at all that waits, and send nothing yet."""
    settings = agent.settings
    looking = Surveyor(settings, settings.places(), agent.queue, Children(settings.home), time.time)
    looking.survey(agent.queue.transfers.to_survey(time.time()))
    assert {row.state for row in Transfer.select()} == {TransferState.READY}


def skipped(lab: Lab, number: int) -> list[str]:
    return [str(path) for path in json.loads(lab.in_job(number, ".cumulus.manifest").read_text())["skipped"]]


def test_links_and_write_ahead_logs_are_left_out_and_told(sending: Agent, lab: Lab) -> None:  # noqa: F811
    folder = Path(bruker(lab))
    for name in ("analysis.tdf-wal", "analysis.tdf-shm", "42.m/x.SQLITE-WAL", ".cumulus.partial/half"):
        lab.write(f"run 1.d/{name}", "" if name.endswith("m") else "log")
    lab.write("run 1.d/analysis.tdf-journal", "is sent: without it the database may be broken")
    lab.write("run 1.d/log-wal.d/kept.bin", "a folder of such a name is sent")
    (folder / "42.m" / "out").symlink_to("/etc")
    (folder / "in").symlink_to("analysis.tdf")
    (folder / "to nothing").symlink_to("/nothing")
    os.mkfifo(folder / "pipe")
    left_out = [
        ".cumulus.partial",
        "42.m/out",
        "42.m/x.SQLITE-WAL",
        "analysis.tdf-shm",
        "analysis.tdf-wal",
        "in",
        "pipe",
        "to nothing",
    ]
    order(sending, lab, 1, str(folder))
    survey(sending)
    line = sending.app.test_client().get("/queue").get_json()[0]
    assert line["skipped"] == [f"run 1.d/{name}" for name in left_out]
    page = sending.app.test_client().get("/status").get_data(as_text=True)
    assert "not sent: run 1.d/.cumulus.partial" in page
    settle(sending)
    assert job_state(1) == JobState.DELIVERED
    assert "run 1.d/42.m/out" in Job.get().message  # on the agent's page for as long as the job is there
    assert skipped(lab, 1) == [f"run 1.d/{name}" for name in left_out]
    assert names_in(lab.data / "run 1.d") == [
        *("42.m", "SampleInfo.xml", "analysis.tdf", "analysis.tdf-journal", "analysis.tdf_bin", "log-wal.d")
    ]
    assert names_in(lab.data / "run 1.d" / "42.m") == ["microTOF Q.method"]
    order(sending, lab, 2, str(folder))
    settle(sending)
    assert all(path.startswith("data/") for path in sent_paths(lab, 2))  # the same, though less than the source has


def test_where_nothing_can_be_held_open_rsync_leaves_out_the_same(
    agent: Agent, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: rsync walks the folder itself."""
    monkeypatch.setattr("agent.sending.sender.hold", lambda path, name, roots: Source(path, name, take(path, roots)))
    folder = Path(bruker(lab))
    kept = names_in(folder)
    for name in ("analysis.tdf-wal", "42.m/x.sqlite-SHM", ".cumulus.partial/half", "42.m/.cumulus.x"):
        lab.write(f"run 1.d/{name}", "log")
    lab.write("run 1.d/log-wal.d/kept-wal.d/inner.bin")
    (folder / "in").symlink_to("analysis.tdf")
    chosen = lab.write("chosen-wal")
    order(agent, lab, 1, str(folder), chosen)
    left = lab.data / Transfer.get(Transfer.name == "run 1.d").upload / "run 1.d" / "42.m" / ".cumulus.partial"
    left.mkdir(parents=True)
    (left / "gone").write_text("half")
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    assert names_in(lab.data) == ["chosen-wal", "run 1.d"]
    assert names_in(lab.data / "run 1.d") == sorted([*kept, "log-wal.d"])
    assert names_in(lab.data / "run 1.d" / "42.m") == ["microTOF Q.method"]
    assert (lab.data / "run 1.d" / "log-wal.d" / "kept-wal.d" / "inner.bin").exists()
    assert len(skipped(lab, 1)) == 5
    order(agent, lab, 2, str(folder))
    settle(agent)
    assert all(path.startswith("data/") for path in sent_paths(lab, 2))


def test_a_file_that_somebody_chose_is_sent_whatever_its_name_is(agent: Agent, lab: Lab) -> None:
    order(agent, lab, 1, lab.write("analysis.tdf-wal", "chosen"))
    settle(agent)
    assert (lab.data / "analysis.tdf-wal").read_text() == "chosen"
    assert skipped(lab, 1) == []


def test_a_log_with_something_in_it_is_waited_for_longer(lab: Lab) -> None:
    """The program that acquires writes it at intervals of its own; an empty one, or one long left alone, tells nothing."""
    lab.write("x.d/analysis.tdf", "old")
    log = Path(lab.write("x.d/analysis.tdf-wal", "pages"))
    os.utime(log, (NOW - 30, NOW - 30))
    seen = take(str(lab.source / "x.d"), roots(lab))
    os.utime(lab.source / "x.d" / "analysis.tdf", (1, 1))
    seen = take(str(lab.source / "x.d"), roots(lab))
    assert not judge(seen, "", 0.0, NOW, 10.0, None).is_still
    assert judge(seen, "", 0.0, NOW + 31, 10.0, None).is_still
    os.utime(log, (NOW, NOW))
    assert take(str(lab.source / "x.d"), roots(lab)).fingerprint != seen.fingerprint
    log.write_bytes(b"")
    os.utime(log, (NOW, NOW))
    assert judge(take(str(lab.source / "x.d"), roots(lab)), "", 0.0, NOW, 10.0, None).is_still


def test_names_that_are_no_text_are_told_and_stop_nobody(agent: Agent, lab: Lab) -> None:
    folder = os.fsencode(lab.source) + b"/x.d"
    os.makedirs(folder)
    os.symlink(b"/etc", folder + b"/\xff")
    os.utime(folder, (1, 1))
    order(agent, lab, 1, os.fsdecode(folder))
    survey(agent)
    assert agent.app.test_client().get("/queue").get_json()[0]["skipped"] == ["x.d/\N{REPLACEMENT CHARACTER}"]
    assert agent.app.test_client().get("/status").status_code == 200
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    assert os.fsencode(skipped(lab, 1)[0]) == b"x.d/\xff"


@pytest.mark.parametrize(("asked", "there"), [(NFC, NFD), (NFD, NFC), (NFC, MIXED), (NFD, MIXED), (MIXED, NFC)])
@pytest.mark.parametrize("where", ["file", "folder", "way"])
def test_a_name_in_another_form_of_unicode_is_found(
    agent_settings: Settings, lab: Lab, asked: str, there: str, where: str
) -> None:
    agent = make_agent(agent_settings)
    forms = {"file": "{}", "folder": "{}/inner.bin", "way": "{}/{}/a.raw"}
    lab.write(forms[where].format(there, there), "spectra")
    path = lab.source / (forms[where].format(asked, asked) if where != "folder" else asked)
    order(agent, lab, 1, str(path), local=(str(path),))
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    for place in (lab.data, lab.in_job(1, "input")):
        assert names_in(place) == [path.name]  # as the client wrote it
        assert (place / path.name / "inner.bin" if where == "folder" else place / path.name).read_text() == "spectra"
    agent.loop.stop()


def test_the_exact_name_wins(tmp_path: Path) -> None:
    for name in (NFC, NFD, MIXED):
        (tmp_path / name).write_text(name)
    for name in (NFC, NFD, MIXED):
        assert spelled(tmp_path, [name]) == tmp_path / name


def test_two_mixed_forms_are_not_guessed_between(tmp_path: Path) -> None:
    both = ["e\u0301\u00e9", "\u00e9e\u0301"]
    for name in both:
        (tmp_path / name).touch()
    assert spelled(tmp_path, ["\u00e9\u00e9"]) == tmp_path / "\u00e9\u00e9"
    (tmp_path / both[0]).unlink()
    assert spelled(tmp_path, ["\u00e9\u00e9"]) == tmp_path / both[1]


def test_a_folder_of_more_files_than_may_be_open_fails_its_job_with_the_reason(
    agent: Agent, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sources.opening.resource.getrlimit", lambda _: (1_000, 1_000))
    for number in range(600):
        lab.write(f"many.d/{number}")
    order(agent, lab, 1, str(lab.source / "many.d"))
    settle(agent)
    assert job_state(1) == JobState.FAILED
    assert "LimitNOFILE" in Job.get().message
