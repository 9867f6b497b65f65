"""Files of this computer in the storage."""

from pathlib import Path

import pytest

from server.errors import InvalidInput
from server.progress import MB
from server.storage.delivery import deliver
from server.storage.folders import JobFolder, Storage


def test_shared_and_own_files_arrive_and_the_marker_comes_last(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    shared, own = tmp_path / "s.txt", tmp_path / ("ö" * 127)  # 254 bytes: no room for anything more
    shared.write_text("shared")
    own.write_text("own")
    deliver(storage, folder, [shared], [own])
    assert {path.name: path.read_text() for path in (*storage.data.iterdir(), *folder.input.iterdir())} == {
        "s.txt": "shared",
        own.name: "own",
    }
    assert folder.has_arrived()


def test_a_file_of_the_same_size_is_compared_by_its_content(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    (storage.data / "a").write_text("old")
    before = (storage.data / "a").stat().st_ino
    (tmp_path / "a").write_text("old")
    deliver(storage, folder, [tmp_path / "a"])
    assert (storage.data / "a").stat().st_ino == before
    (tmp_path / "a").write_text("new")
    deliver(storage, folder, [tmp_path / "a"])
    assert (storage.data / "a").read_text() == "new"


def test_a_folder_that_was_sent_before_can_be_sent_again(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "run.d" / "inner").mkdir(parents=True)
    (tmp_path / "run.d" / "inner" / "a").write_text("old")
    deliver(storage, folder, [tmp_path / "run.d"])
    before = (storage.data / "run.d").stat().st_ino
    deliver(storage, folder, [tmp_path / "run.d"])
    assert (storage.data / "run.d").stat().st_ino == before
    (tmp_path / "run.d" / "inner" / "a").rename(tmp_path / "run.d" / "b")
    deliver(storage, folder, [tmp_path / "run.d"])
    assert sorted(path.relative_to(storage.data).as_posix() for path in storage.data.rglob("*")) == [
        "run.d",
        "run.d/b",
        "run.d/inner",
    ]


def test_a_file_does_not_replace_a_folder(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    (storage.data / "a").mkdir()
    (tmp_path / "a").write_text("x")
    with pytest.raises(InvalidInput, match="cannot be put into the storage"):
        deliver(storage, folder, [tmp_path / "a"])
    assert [path.name for path in storage.data.iterdir()] == ["a"]


def test_how_much_is_sent_is_told_in_mb_also_of_what_is_there_already(
    storage: Storage, folder: JobFolder, tmp_path: Path
) -> None:
    told: list[tuple[float, float | None]] = []
    (tmp_path / "run.d" / "inner").mkdir(parents=True)
    for name, size in (("run.d/a", MB), ("run.d/inner/b", MB), ("c", 2 * MB)):
        (tmp_path / name).write_bytes(b"x" * size)
    deliver(storage, folder, [tmp_path / "run.d"], [tmp_path / "c"], lambda done, total: told.append((done, total)))
    assert [one for one in told if one in ((2, 4), (4, 4))][-2:] == [(2, 4), (4, 4)]
    deliver(storage, folder, [], [tmp_path / "c"], lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


def test_what_cannot_be_read_leaves_nothing_behind(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "whole").write_text("x")
    (tmp_path / "d" / "lost").symlink_to("nowhere")
    with pytest.raises(InvalidInput, match="cannot be put into the storage"):
        deliver(storage, folder, [tmp_path / "d"])
    assert list(storage.data.iterdir()) == []
    assert not folder.has_arrived()
