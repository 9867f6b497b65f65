"""Files of the home: read, written, locked and set aside whatever lies in their places."""

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from server.home.files import (
    KEPT,
    SET_ASIDE,
    InTheWay,
    clear,
    open_anew,
    open_lock,
    open_log,
    own_folder,
    read_end,
    read_own,
    remove_own,
    require_usable,
    set_aside,
    write_own,
)
from tests.faults.home import KINDS
from tests.processes import descriptors

LYING = sorted(set(KINDS) - {"foreign"})


@pytest.fixture(params=LYING)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file's place, with something wrong in it."""
    path = tmp_path / "file"
    path.write_text("as it was\n")
    KINDS[request.param](path)
    return path


def test_what_lies_there_is_never_waited_for_and_holds_no_descriptor(place: Path) -> None:
    before = descriptors()
    for read in (read_own, lambda path: read_end(path, 3)):
        try:
            read(place)
        except OSError:
            continue
    assert descriptors() - before == set()


def test_a_file_is_written_whole_with_its_rights_in_place_of_anything(place: Path) -> None:
    write_own(place, "new\n", 0o640)
    assert place.read_text() == "new\n"
    assert not place.is_symlink()
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert [one.name for one in place.parent.iterdir() if one.suffix == ".new"] == []


def test_what_a_killed_writer_left_goes_with_the_next_writing(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".file.00000000.new", ".file.11111111.new", ".files.00000000.new"))
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (0, 0))
    write_own(tmp_path / "file", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, other.name, "file"]


@pytest.mark.parametrize(
    "use",
    [
        lambda path: open_lock(path).close(),
        lambda path: open_log(path).close(),
        lambda path: open_anew(path).close(),
        lambda path: path.write_text("") if not require_usable(path) and not path.exists() else None,  # type: ignore[func-returns-value]
    ],
)
def test_what_is_opened_by_name_is_a_file_then(place: Path, use: Callable[[Path], None]) -> None:
    use(place)
    found = place.lstat()
    assert stat.S_ISREG(found.st_mode)
    assert os.access(place, os.R_OK | os.W_OK)


def test_nothing_is_left_of_what_is_removed(place: Path) -> None:
    remove_own(place)
    assert not os.path.lexists(place)
    clear(place)


def test_a_folder_takes_the_place_of_a_file_but_not_of_a_link_to_a_disk_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    own_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "disk").symlink_to(tmp_path / "not mounted")
    with pytest.raises(InTheWay, match=r"disk leads to .*not mounted, which is no folder: mount"):
        own_folder(tmp_path / "disk" / "inner")
    assert (tmp_path / "disk").is_symlink()


def test_what_is_set_aside_has_its_date_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state [1]"
    for number in range(KEPT + 3):
        path.write_text(str(number))
        kept = set_aside(path, "a test", lambda: 1_800_000_000.0)
        assert kept is not None
        assert kept.name.startswith(f"{path.name}{SET_ASIDE}2027")
    assert len(list(tmp_path.iterdir())) == KEPT
    assert set_aside(path, "there is nothing") is None


def test_a_file_that_cannot_be_moved_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InTheWay, match="/proc/"):
        write_own(Path("/proc/version"), "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a file another user's")
def test_a_lock_that_another_user_has_left_is_taken_over_unless_somebody_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "lock", os.open
    path.touch()

    def refused(name: Path, flags: int, mode: int = 0o777, **more: int) -> int:
        """As the system does without root's rights."""
        if Path(name) == path and path.exists() and path.stat().st_uid != 0:
            raise PermissionError(13, "Permission denied", str(name))
        return opened(name, flags, mode, **more)

    os.chown(path, 65534, 65534)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InTheWay, match="run this as nobody"):
        open_lock(path, seize=False)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InTheWay, match="run this as nobody"):
            open_lock(path)
    open_lock(path).close()
    assert path.stat().st_uid == 0
