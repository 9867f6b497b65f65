"""What a sender says it has sent, and what broken uploads have left."""

import json

import pytest

from agent.queue.manifest import Arrived, manifest, to_text
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.arrivals import (
    PARTIAL,
    UNREADABLE,
    Arrival,
    ManifestUnreadable,
    Sent,
    left_in,
    left_over,
    read_sent,
    write_sent,
)

NAME = "Job_7_ada_probe_1.0_1700000007"


@pytest.fixture
def folder(storage: Storage) -> JobFolder:
    made = storage.folder(NAME)
    made.create("{}")
    return made


def test_what_an_agent_writes_is_read(folder: JobFolder) -> None:
    parts = [("data", to_text([Arrived('x.d/é\n"q', 5, 7, "ab")])), (f"jobs/{NAME}/input", to_text([Arrived("l.txt", 1, 8)]))]
    (folder.path / ".cumulus.manifest").write_text(manifest(parts))
    assert read_sent(folder) == Sent((Arrival('data/x.d/é\n"q', 5, 7, "ab"), Arrival(f"jobs/{NAME}/input/l.txt", 1, 8)))


def test_what_is_written_here_is_read_again(folder: JobFolder) -> None:
    sent = Sent((Arrival("data/a", 1, 2, "sha256:ab"),), ("x.d/link",), ("a",))
    write_sent(folder, sent)
    assert read_sent(folder) == sent


def test_who_leaves_no_manifest_has_said_nothing(folder: JobFolder) -> None:
    assert read_sent(folder) is None


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "data/../x", "../x", "jobs/Job_8_a_b_1/input/x", f"jobs/{NAME}/output/x", "", "data", "data//x"]
)
def test_a_path_that_no_agent_sends_is_not_looked_at(folder: JobFolder, path: str) -> None:
    (folder.path / ".cumulus.manifest").write_text(json.dumps({"version": 1, "files": [{"path": path, "size": 1}]}))
    with pytest.raises(ManifestUnreadable, match="is no file that an agent sends"):
        read_sent(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "null",
        '{"version": 2, "files": []}',
        '{"version": 1, "files": [{"path": "data/a"}]}',
        '{"version": 1, "files": [1]}',
        '{"version": 1, "files": [], "skipped": 1}',
        "[" * 100_000,
    ],
)
def test_a_manifest_that_is_none_is_said_so(folder: JobFolder, text: str) -> None:
    (folder.path / ".cumulus.manifest").write_text(text)
    with pytest.raises(ManifestUnreadable, match=UNREADABLE):
        read_sent(folder)


def test_a_manifest_that_is_no_file_is_said_so(folder: JobFolder) -> None:
    (folder.path / ".cumulus.manifest").mkdir()
    with pytest.raises(ManifestUnreadable, match=UNREADABLE):
        read_sent(folder)


def test_what_a_broken_upload_left_is_found_when_it_is_old_and_nothing_else(storage: Storage) -> None:
    (storage.data / PARTIAL).mkdir()
    left = [storage.data / PARTIAL / "a.raw", storage.data / ".b.raw.Xy12Zz"]
    for path in (*left, storage.data / "c.raw", storage.data / ".hidden", storage.data / "run.d.Xy12Zz"):
        path.write_text("x")
    left.append(storage.data / ".upload.0a1b2c")  # of a folder
    for folder in (left[-1], storage.data / ".mine.0a1b2c"):
        folder.mkdir()
    now = left[0].stat().st_ctime
    assert sorted(left_over(storage.data, now + 10)) == sorted(left)
    assert list(left_over(storage.data, now - 10)) == []


def test_an_upload_into_whose_folders_somebody_still_writes_is_not_left_over(storage: Storage) -> None:
    upload = storage.data / ".upload.0123456789abcdef.0a1b2c"
    (upload / "run.d").mkdir(parents=True)
    began = upload.stat().st_ctime
    later = began
    while later < began + 0.02:  # the system's clock for files goes in steps
        (upload / "run.d" / "analysis.tdf_bin").write_text("x")
        later = (upload / "run.d" / "analysis.tdf_bin").stat().st_ctime
    assert list(left_over(storage.data, began + 0.01)) == []
    assert list(left_over(storage.data, later + 1)) == [upload]


def test_in_a_job_s_own_input_only_what_is_no_file_of_anybody_s_is_left_over(folder: JobFolder) -> None:
    (folder.input / PARTIAL).mkdir()
    for name in (".upload.0a1b2c", ".upload.mine", ".hidden", "a.raw"):
        (folder.input / name).write_text("x")
    assert sorted(path.name for path in left_in(folder.input)) == [PARTIAL, ".upload.0a1b2c"]
