"""Job folders: what the controller and a worker tell each other in one."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.errors import InvalidInput, NotFound
from server.storage.folders import JobFolder, Storage, folder_name
from server.storage.inputs.delivery import deliver
from server.storage.job_folder.run_plan import Plan, PlannedInput
from server.storage.logs.job_log import LOG_HEAD_BYTES, LOG_TAIL_BYTES


def test_a_folder_s_name_has_only_harmless_characters() -> None:
    assert folder_name(7, "ada & co/../x", "comet_1.0", 12.9) == "Job_7_ada-co-..-x_comet_1.0_12"


def test_the_plan_says_everything_that_the_runner_needs(folder: JobFolder) -> None:
    plan = Plan(7, 2, "job-7-2", 4, (PlannedInput("a.raw", True, "a.mzML", ("convert", "{source}")),), end_tag="done")
    folder.instructions.write_plan(plan, "echo hi", ("json", "{}"))
    written = json.loads((folder.path / ".cumulus.plan").read_text())
    assert written["attempt"] == 2
    assert written["inputs"] == [
        {
            "name": "a.raw",
            "shared": True,
            "target": "a.mzML",
            "convert": ["convert", "{source}"],
            "unless_indexed": False,
            "keep": False,
            "accepts": None,
            "rewrite": None,
            "alone": False,
            "group": "",
            "expected": None,
        }
    ]
    assert (folder.path / ".cumulus.cmd").read_text() == "echo hi\n"
    assert (folder.path / ".cumulus.settings.json").read_text() == "{}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"attempt": 1}', '{"attempt": "1", "exit_code": 0, "stage": "done"}', "\0\xff"])
def test_a_result_that_is_no_result_is_none(folder: JobFolder, text: str) -> None:
    (folder.path / ".cumulus.result").write_text(text, encoding="latin-1")
    assert folder.reports.result(1) is None


def test_a_result_counts_for_its_own_attempt_only(folder: JobFolder) -> None:
    (folder.path / ".cumulus.result").write_text('{"attempt": 1, "exit_code": 3, "stage": "app", "message": "m", "more": 1}')
    found = folder.reports.result(1)
    assert found is not None
    assert (found.exit_code, found.stage) == (3, "app")
    assert folder.reports.result(2) is None


def test_outputs_are_listed_with_folders_and_without_private_files(folder: JobFolder) -> None:
    (folder.output / "deep" / "er").mkdir(parents=True)
    (folder.output / "deep" / "er" / "a.txt").write_text("12345")
    (folder.output / ".cumulus.log").write_text("private")
    (folder.output / "deep" / ".cumulus.temp").mkdir()
    (folder.output / "deep" / ".cumulus.temp" / "b.txt").write_text("private")
    (folder.output / "broken").symlink_to("nowhere")
    assert folder.results.files() == [("deep/er/a.txt", 5)]


def test_a_link_is_a_result_only_where_it_leads_to_one(folder: JobFolder, tmp_path: Path) -> None:
    (folder.output / "a.txt").write_text("12345")
    (folder.output / ".cumulus.x").write_text("private")
    (tmp_path / "outside").write_text("of somebody else")
    (folder.output / "link").symlink_to("a.txt")
    for name, target in (("far", tmp_path / "outside"), ("up", "../.cumulus.settings"), ("own", ".cumulus.x"), ("again", "far")):
        (folder.output / name).symlink_to(target)
    assert folder.results.files() == [("a.txt", 5), ("link", 5)]


def test_a_very_long_log_keeps_its_beginning_and_its_end(folder: JobFolder) -> None:
    (folder.path / ".cumulus.log").write_bytes(b"first\n" + b"x" * (LOG_HEAD_BYTES + LOG_TAIL_BYTES) + b"\nlast \xff\n")
    log = folder.log.text()
    assert log.startswith("first\n")
    assert log.endswith("\nlast \ufffd\n")
    assert "bytes left out" in log


def test_a_growing_log_is_read_in_whole_lines(folder: JobFolder) -> None:
    log = folder.path / ".cumulus.log"
    log.write_text("one\ntw")
    text, position = folder.log.since(0)
    assert text == "one\n"
    log.write_text("one\ntwo\n")
    assert folder.log.since(position) == ("two\n", 8)


def test_delivered_files_are_there_under_their_names_before_the_mark(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    shared, own = tmp_path / "a.raw", tmp_path / "own.txt"
    shared.write_text("shared")
    own.write_text("own")
    assert not folder.has_arrived()
    deliver(storage, folder, [shared], [own])
    assert folder.has_arrived()
    assert (storage.data / "a.raw").read_text() == "shared"
    assert (folder.input / "own.txt").read_text() == "own"
    assert sorted(path.name for path in storage.data.iterdir()) == ["a.raw"]


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_marked(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.raw"):
        deliver(storage, folder, [tmp_path / "absent.raw"])
    assert not folder.has_arrived()


def test_results_are_listed_however_deep_they_lie(folder: JobFolder) -> None:
    path = str(folder.output)
    for _ in range(1500):
        path += "/d"
        os.mkdir(path)
    Path(path, "x").write_text("12")
    assert [size for _, size in folder.results.files()] == [2]
    for _ in range(1500):  # what removes the test's folder cannot go as deep
        Path(path, "x").unlink(missing_ok=True)
        os.rmdir(path)
        path = path[:-2]


def test_results_that_lie_elsewhere_are_nobody_s(folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    folder.output.rmdir()
    folder.output.symlink_to(tmp_path)
    assert folder.results.files() == []
    with pytest.raises(NotFound):
        folder.results.file("secret")


def test_a_text_is_kept_whatever_lies_in_its_way(folder: JobFolder) -> None:
    os.mkfifo(folder.path / ".cumulus.failure.1.new")
    os.mkfifo(folder.path / ".cumulus.failure.1")
    folder.private.keep("failure.1", "said")
    assert (folder.path / ".cumulus.failure.1").read_text() == "said"


def test_only_what_is_no_result_is_cleared_away(folder: JobFolder) -> None:
    place = folder.path / ".cumulus.result"
    assert not folder.reports.has_unreadable_result()
    place.write_text('{"attempt": 1, "exit_code": 3, "stage": "app"}')
    folder.reports.forget_unreadable_result()
    assert folder.reports.result(1) is not None
    place.unlink()
    (place / "inner").mkdir(parents=True)
    assert folder.reports.has_unreadable_result()
    folder.reports.forget_unreadable_result()
    assert not place.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path.with_name("elsewhere"), path)])
def test_an_attempt_s_mark_that_the_runner_cannot_have_made_is_refused(folder: JobFolder, make: Callable[[Path], None]) -> None:
    make(folder.path / ".cumulus.attempt.1")
    with pytest.raises(OSError, match="not a regular file"):
        folder.reports.has_started(1)


def test_several_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "Job_1")
    folder.create("{}")
    texts = [f"{number}" * 5000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        for _ in range(20):
            list(pool.map(lambda text: folder.private.keep("job", text), texts))
            assert folder.private.text("job") in texts
    assert sorted(path.name for path in folder.path.iterdir()) == [".cumulus.job", ".cumulus.settings", "input", "output"]
