"""Hearing of what appears in folders, from the real kernel."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.storage import file_watcher
from server.storage.file_watcher import FileWatcher, is_local

HEARD_LIMIT_S, SILENCE_S = 5.0, 0.2


class Ear:
    """Counts what was heard."""

    def __init__(self) -> None:
        self._heard: queue.Queue[None] = queue.Queue()

    def __call__(self) -> None:
        self._heard.put(None)

    def hears(self) -> bool:
        try:
            self._heard.get(timeout=HEARD_LIMIT_S)
        except queue.Empty:
            return False
        return True

    def is_quiet(self) -> bool:
        try:
            self._heard.get(timeout=SILENCE_S)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def heard(tmp_path: Path, ear: Ear) -> Iterator[FileWatcher]:
    made = FileWatcher(tmp_path, ("result",), ear)
    yield made
    made.close()


def folder(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.mkdir()
    return path


def test_a_file_that_is_made_or_renamed_there_is_heard_of(tmp_path: Path, heard: FileWatcher, ear: Ear) -> None:
    one = folder(tmp_path, "one")
    assert heard.listen_only_to(["one"])
    (one / "result").touch()
    assert ear.hears()
    (one / "result").unlink()
    (one / "beside").touch()
    assert ear.is_quiet()
    (one / "beside").rename(one / "result")
    assert ear.hears()
    assert heard.heard() == {"one"}
    assert heard.heard() == set()


def test_what_changes_and_what_has_another_name_wakes_nobody(tmp_path: Path, heard: FileWatcher, ear: Ear) -> None:
    one = folder(tmp_path, "one")
    (one / "result").touch()
    heard.listen_only_to(["one"])
    (one / "result").write_text("more")
    (one / "log").touch()
    assert ear.is_quiet()


def test_what_is_no_longer_listened_to_is_not_heard_of(tmp_path: Path, heard: FileWatcher, ear: Ear) -> None:
    one, two = folder(tmp_path, "one"), folder(tmp_path, "two")
    heard.listen_only_to(["one", "two"])
    assert heard.listen_only_to(["two"])
    (one / "result").touch()
    assert ear.is_quiet()
    (two / "result").touch()
    assert ear.hears()


def test_a_folder_that_is_not_there_is_said_to_be_missed_until_it_is_made(tmp_path: Path, heard: FileWatcher, ear: Ear) -> None:
    assert not heard.listen_only_to(["one"])
    one = folder(tmp_path, "one")
    assert heard.listen_only_to(["one"])
    (one / "result").touch()
    assert ear.hears()


def test_a_folder_that_is_made_again_is_listened_to_again(tmp_path: Path, heard: FileWatcher, ear: Ear) -> None:
    one = folder(tmp_path, "one")
    heard.listen_only_to(["one"])
    one.rmdir()
    while "one" in heard._watches:  # until the kernel has said so
        pass
    folder(tmp_path, "one")
    assert heard.listen_only_to(["one"])
    (one / "result").touch()
    assert ear.hears()


def test_a_storage_that_others_change_is_not_relied_on(tmp_path: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watcher, "is_local", lambda path: False)
    made = FileWatcher(tmp_path, ("result",), ear)
    folder(tmp_path, "one")
    assert not made.listen_only_to(["one"])
    assert made.listen_only_to([])
    made.close()


@pytest.mark.parametrize(
    ("kind", "local"), [("ext4", True), ("tmpfs", True), ("nfs4", False), ("fuse.sshfs", False), ("ceph", False)]
)
def test_the_kind_of_the_file_system_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, local: bool) -> None:
    class Mount:
        def __init__(self, mountpoint: str, fstype: str) -> None:
            self.mountpoint, self.fstype = mountpoint, fstype

    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind)]
    monkeypatch.setattr(file_watcher.psutil, "disk_partitions", lambda **_: mounts)
    assert is_local(tmp_path / "jobs") is local


def test_the_end_of_listening_ends_its_thread_also_twice(tmp_path: Path, ear: Ear) -> None:
    made = FileWatcher(tmp_path, ("result",), ear)
    made.close()
    made.close()
