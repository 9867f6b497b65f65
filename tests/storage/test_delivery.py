"""Files of this computer in the storage."""

import errno
import hashlib
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from server.errors import InvalidInput
from server.progress import MB
from server.storage.data import remove
from server.storage.folders import JobFolder, Storage
from server.storage.inputs import copying, delivery, placing
from server.storage.inputs.arrivals import left_over, read_sent
from server.storage.inputs.delivery import deliver
from server.storage.inputs.pins import APART
from tests.storage.killing import killed_at


def paths(folder: JobFolder) -> list[str]:
    """Where the files are that the job uses."""
    sent = read_sent(folder)
    assert sent is not None
    return [one.path for one in sent.files]


def sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def refusing(number: int) -> Callable[..., NoReturn]:
    """A system call that fails."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


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


def test_the_same_content_is_shared_and_another_of_the_same_size_is_kept_apart(
    storage: Storage, folder: JobFolder, tmp_path: Path
) -> None:
    source, shared = tmp_path / "a", storage.data / "a"
    shared.write_text("old")
    before = shared.stat().st_ino
    source.write_text("old")
    os.utime(source, ns=(7, 7))
    assert deliver(storage, folder, [source]).words == []
    assert (shared.stat().st_ino, list(folder.input.iterdir())) == (before, [])
    source.write_text("new")
    os.utime(source, ns=(0, shared.stat().st_mtime_ns))  # neither size nor time tell them apart
    assert deliver(storage, folder, [source]).words == [f"a: {APART}"]
    assert (shared.read_text(), (folder.input / "a").read_text()) == ("old", "new")
    assert paths(folder) == [f"jobs/{folder.name}/input/a"]


def test_the_manifest_has_what_the_job_uses_with_checksums(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "run.d").mkdir()
    for name in ("run.d/a", "own", "there"):
        (tmp_path / name).write_text(name)
    (storage.data / "there").write_text("something else")
    deliver(storage, folder, [tmp_path / "run.d"], [tmp_path / "own"], stored=["there"])
    sent = read_sent(folder)
    assert sent is not None
    assert {one.path: one.checksum for one in sent.files} == {
        "data/run.d/a": sha256("run.d/a"),
        f"jobs/{folder.name}/input/own": sha256("own"),
        "data/there": sha256("something else"),
    }
    assert all(one.modified_ns == (storage.root / one.path).stat().st_mtime_ns for one in sent.files)
    assert sent.stored == ("there",)


@pytest.mark.parametrize("name", ["absent", "link", "../jobs", ".cumulus.x"])
def test_only_what_the_storage_has_can_be_used_from_there(storage: Storage, folder: JobFolder, name: str) -> None:
    (storage.data / "link").symlink_to(folder.path / ".cumulus.settings")
    with pytest.raises(InvalidInput):
        deliver(storage, folder, [], stored=[name])
    assert not folder.has_arrived()


def run_d(top: Path, **files: str) -> Path:
    """A folder with these files; ``__`` in a name is a /."""
    for name, text in files.items():
        path = top / "run.d" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top / "run.d"


def content(top: Path) -> dict[str, str]:
    return {path.relative_to(top).as_posix(): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_a_folder_with_the_same_content_is_shared_and_another_is_the_job_s_own_without_leftovers(
    storage: Storage, folder: JobFolder, tmp_path: Path
) -> None:
    source = run_d(tmp_path, inner__a="old", b="b")
    deliver(storage, folder, [source])
    before = (storage.data / "run.d").stat().st_ino
    assert deliver(storage, folder, [source]).words == []
    (source / "b").unlink()  # one file fewer is another folder
    assert deliver(storage, folder, [source]).words == [f"run.d: {APART}"]
    (source / "inner" / "a").rename(source / "c")
    (source / "inner").rmdir()
    deliver(storage, folder, [source])
    assert (storage.data / "run.d").stat().st_ino == before
    assert content(storage.data / "run.d") == {"inner/a": "old", "b": "b"}
    assert content(folder.input / "run.d") == {"c": "old"}
    assert [path.name for path in folder.input.iterdir()] == ["run.d"]
    assert [path.name for path in storage.data.iterdir()] == ["run.d"]


def test_links_in_a_folder_are_left_out_and_named_whatever_they_lead_to(
    storage: Storage, folder: JobFolder, tmp_path: Path
) -> None:
    source = run_d(tmp_path, a="a", analysis__tdf="t")
    for name in ("tdf-wal", "tdf-SHM", ".cumulus.x"):
        (source / "analysis" / name).write_text("of no other computer")
    (source / ".cumulus.partial").mkdir()
    (source / ".cumulus.partial" / "half").touch()
    (source / "secret").symlink_to("/etc/passwd")
    (source / "lost").symlink_to("nowhere")
    (source / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(source / "pipe")
    done = deliver(storage, folder, [source])
    assert content(storage.data / "run.d") == {"a": "a", "analysis/tdf": "t"}
    own = ["run.d/.cumulus.partial", "run.d/analysis/.cumulus.x"]
    names = [*own, "run.d/analysis/tdf-SHM", "run.d/analysis/tdf-wal", "run.d/lost", "run.d/pipe", "run.d/secret", "run.d/up"]
    assert sorted(done.skipped) == names
    assert [text.split(" ")[0] for text in sorted(done.words)] == names
    assert deliver(storage, folder, [source]).words == done.words  # the same folder, so shared
    assert list(folder.input.iterdir()) == []


def test_a_link_that_is_put_in_a_file_s_place_is_not_followed(
    storage: Storage, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = run_d(tmp_path, a="a")
    look = copying._is_sent

    def swapped(name: str, status: os.stat_result) -> bool:
        (source / "a").unlink(missing_ok=True)
        (source / "a").symlink_to("/etc/passwd")
        return look(name, status)

    monkeypatch.setattr(copying, "_is_sent", swapped)
    with pytest.raises(InvalidInput, match="cannot be put into the storage"):
        deliver(storage, folder, [source])
    assert list(storage.data.iterdir()) == []


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")], ids=["dir", "pipe", "link"]
)
def test_whatever_has_a_file_s_name_is_left_there(
    storage: Storage, folder: JobFolder, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(storage.data / "a")
    before = (storage.data / "a").lstat()
    (tmp_path / "a").write_text("x")
    assert deliver(storage, folder, [tmp_path / "a"]).words == [f"a: {APART}"]
    assert (storage.data / "a").lstat().st_ino == before.st_ino
    assert (folder.input / "a").read_text() == "x"


@pytest.mark.parametrize("wins", ["same", "other"])
def test_of_two_deliveries_of_one_name_none_replaces_the_other(
    storage: Storage, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wins: str
) -> None:
    """The second ends between the first one's look and its last step."""
    (tmp_path / "a").write_text("same")

    def publish(made: Path, target: Path) -> bool:
        target.write_text(wins)
        monkeypatch.undo()
        return placing.publish(made, target)

    monkeypatch.setattr(delivery, "publish", publish)
    deliver(storage, folder, [tmp_path / "a"])
    assert (storage.data / "a").read_text() == wins
    assert paths(folder) == ["data/a" if wins == "same" else f"jobs/{folder.name}/input/a"]
    assert [path.name for path in storage.data.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("way", ["link", "renameat2", "neither"])
def test_a_name_is_given_once_on_every_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, way: str) -> None:
    if way != "link":
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    if way == "neither":
        monkeypatch.setattr(placing, "_renameat2", lambda _made, _target: errno.EINVAL)
    for number in (1, 2):
        made = tmp_path / f"made{number}"
        (made if kind == "folder" else tmp_path).mkdir(exist_ok=True)
        (made / "x" if kind == "folder" else made).write_text(str(number))
    assert placing.publish(tmp_path / "made1", tmp_path / "a")
    assert not placing.publish(tmp_path / "made2", tmp_path / "a")
    assert ((tmp_path / "a" / "x") if kind == "folder" else tmp_path / "a").read_text() == "1"
    assert (tmp_path / "made2").exists()
    assert not (tmp_path / "made1").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_source_that_is_written_meanwhile_is_sent_again_and_at_last_refused(
    storage: Storage, folder: JobFolder, tmp_path: Path, there: bool
) -> None:
    """Also where it is compared with what is there. Its size and time may be the same afterwards."""
    source = tmp_path / "a"
    source.write_text("1111")
    if there:
        (storage.data / "a").write_text("1111")
    written: list[int] = []

    def write(times: int) -> Callable[[float, float | None], None]:
        def heard(_done: float, _total: float | None) -> None:
            if len(written) < times:
                written.append(1)
                before = source.stat()
                source.write_text("2222")
                os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))

        return heard

    deliver(storage, folder, [source], advance=write(1))
    assert [(storage.root / path).read_text() for path in paths(folder)] == ["2222"]
    with pytest.raises(InvalidInput, match="was changed while it was sent, each of 3 times: wait until it is complete"):
        deliver(storage, folder, [source], advance=write(100))
    assert [path.name for path in (*storage.data.iterdir(), *folder.input.iterdir()) if path.name != "a"] == []


@pytest.mark.parametrize("known", [False, True])
def test_who_is_killed_at_any_point_leaves_nothing_half_under_a_name(tmp_path: Path, known: bool) -> None:
    source = run_d(tmp_path, inner__a="a", b="b")
    (tmp_path / "c").write_text("c")
    for point in range(200):
        storage = Storage(tmp_path / f"storage{point}")
        storage.prepare()
        folder = storage.folder("Job_1_ada_comet_0")
        folder.create("{}")
        if known:
            (storage.data / "c").write_text("C")
        survived = killed_at(point, lambda storage=storage, folder=folder: deliver(storage, folder, [source, tmp_path / "c"]))
        there = {path.name: path for path in storage.data.iterdir() if not path.name.startswith(".upload.")}
        assert "run.d" not in there or content(there["run.d"]) == {"inner/a": "a", "b": "b"}
        assert "c" not in there or there["c"].read_text() == ("C" if known else "c")
        assert survived or not folder.has_arrived()
        deliver(storage, folder, [source, tmp_path / "c"])
        assert (folder.input / "c").exists() is known
        for left in left_over(storage.data, 2e10):
            remove(left)
        assert sorted(path.name for path in storage.data.iterdir()) == ["c", "run.d"]
        if survived:
            break
    assert 8 < point < 199


def test_a_name_in_another_unicode_form_is_the_same_name(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    composed, apart = "größe.fasta", unicodedata.normalize("NFD", "größe.fasta")
    (storage.data / apart).write_text("x")
    (tmp_path / composed).write_text("x")
    deliver(storage, folder, [tmp_path / composed])
    assert [path.name for path in storage.data.iterdir()] == [apart]
    (tmp_path / composed).write_text("y")
    assert deliver(storage, folder, [tmp_path / composed]).words == [f"{composed}: {APART}"]


def test_two_files_of_one_name_are_refused_before_anything_is_sent(storage: Storage, folder: JobFolder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(InvalidInput, match="have the same name: rename one of them"):
        deliver(storage, folder, [tmp_path / "one" / "a", tmp_path / "two" / "a"])
    assert list(storage.data.iterdir()) == []


@pytest.mark.parametrize("length", [1, 255])
def test_names_of_every_length_are_sent_shared_and_kept_apart(
    storage: Storage, folder: JobFolder, tmp_path: Path, length: int
) -> None:
    name = "n" * length
    for text in ("one", "two"):
        (tmp_path / name).write_text(text)
        deliver(storage, folder, [tmp_path / name])
    assert ((storage.data / name).read_text(), (folder.input / name).read_text()) == ("one", "two")


def test_how_much_is_sent_is_told_in_mb_also_of_what_is_there_already(
    storage: Storage, folder: JobFolder, tmp_path: Path
) -> None:
    told: list[tuple[float, float | None]] = []
    (tmp_path / "run.d" / "inner").mkdir(parents=True)
    for name, size in (("run.d/a", MB), ("run.d/inner/b", MB), ("c", 2 * MB)):
        (tmp_path / name).write_bytes(b"x" * size)
    deliver(storage, folder, [tmp_path / "run.d"], [tmp_path / "c"], lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert dict.fromkeys(told) == dict.fromkeys([(1, 4), (2, 4), (3, 4), (4, 4)])
    deliver(storage, folder, [], [tmp_path / "c"], lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


def test_what_cannot_be_read_leaves_nothing_behind(
    storage: Storage, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = run_d(tmp_path, a="a", b="b")
    opened = copying._opened
    monkeypatch.setattr(copying, "_opened", lambda name, at: refusing(errno.EIO)() if name == "b" else opened(name, at))
    with pytest.raises(InvalidInput, match="cannot be put into the storage"):
        deliver(storage, folder, [source])
    assert list(storage.data.iterdir()) == []
    assert not folder.has_arrived()
