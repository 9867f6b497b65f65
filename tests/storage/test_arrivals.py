"""What an agent says it has sent, and what is there."""

import json

import pytest

from agent.manifest import Arrived, manifest, to_text
from server.storage.arrivals import PARTIAL, UNREADABLE, incomplete, left_over
from server.storage.folders import JobFolder, Storage

NAME = "Job_7_ada_probe_1.0_1700000007"


@pytest.fixture
def folder(storage: Storage) -> JobFolder:
    made = storage.folder(NAME)
    made.create("{}")
    return made


def sent(folder: JobFolder, *files: tuple[str, str, int]) -> None:
    """The manifest that an agent leaves for files (place, path, size)."""
    text = manifest((place, to_text([Arrived(path, size, 0, "ab")])) for place, path, size in files)
    (folder.path / ".cumulus.manifest").write_text(text)


def test_all_is_there_as_it_was_sent(storage: Storage, folder: JobFolder) -> None:
    (storage.data / "x.d").mkdir()
    (storage.data / "x.d" / 'é\n"q').write_text("12345")
    (folder.input / "l.txt").write_text("1")
    sent(folder, ("data", 'x.d/é\n"q', 5), (f"jobs/{NAME}/input", "l.txt", 1))
    assert incomplete(folder, storage.root) == []


def test_who_leaves_no_manifest_is_believed(storage: Storage, folder: JobFolder) -> None:
    assert incomplete(folder, storage.root) == []


def test_what_is_cut_off_gone_or_something_else_is_named(storage: Storage, folder: JobFolder) -> None:
    (storage.data / "cut.raw").write_text("123")
    (storage.data / "folder.raw").mkdir()
    (storage.data / "link.raw").symlink_to(folder.path / ".cumulus.settings")
    sent(folder, *(("data", f"{name}.raw", 5) for name in ("cut", "folder", "link", "gone")))
    assert incomplete(folder, storage.root) == [
        "data/cut.raw has 3 bytes, not 5",
        "data/folder.raw is no file",
        "data/link.raw is no file",
        "data/gone.raw is gone",
    ]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "data/../x", "../x", "jobs/Job_8_a_b_1/input/x", f"jobs/{NAME}/output/x", "", "data", "data//x"]
)
def test_a_path_that_no_agent_sends_is_not_looked_at(storage: Storage, folder: JobFolder, path: str) -> None:
    (folder.path / ".cumulus.manifest").write_text(json.dumps({"version": 1, "files": [{"path": path, "size": 1}]}))
    assert "is no file that an agent sends" in incomplete(folder, storage.root)[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"version": 2, "files": []}', '{"version": 1, "files": [{"path": "data/a"}]}', "[" * 100_000]
)
def test_a_manifest_that_is_none_is_said_so(storage: Storage, folder: JobFolder, text: str) -> None:
    (folder.path / ".cumulus.manifest").write_text(text)
    assert incomplete(folder, storage.root) == [UNREADABLE]


def test_a_manifest_that_is_no_file_is_said_so(storage: Storage, folder: JobFolder) -> None:
    (folder.path / ".cumulus.manifest").mkdir()
    assert incomplete(folder, storage.root) == [UNREADABLE]


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
