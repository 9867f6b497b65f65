"""Results of conversions, kept for later jobs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.storage.converted import Converted, conversion_key, is_whole
from server.storage.folders import JobFolder, Storage
from tests.runner.cases import mzml

KEY = "a" * 64
OTHER = "b" * 64
COMMAND = ("convert", "{source}")


@pytest.fixture
def converted(storage: Storage) -> Converted:
    return Converted(storage.root)


@pytest.fixture
def source(storage: Storage) -> Path:
    path = storage.data / "a.raw"
    path.write_text("raw")
    return path


def job(storage: Storage, name: str) -> JobFolder:
    folder = storage.folder(name)
    folder.create("{}")
    return folder


def left(folder: JobFolder, name: str, text: str) -> Path:
    """What a runner leaves in a job's folder."""
    path = folder.path / ".cumulus.converted" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def always(key: str) -> Callable[[int], str | None]:
    return lambda _: key


def test_a_result_is_taken_and_given_without_a_copy(storage: Storage, converted: Converted) -> None:
    first, second = job(storage, "first"), job(storage, "second")
    path = left(first, "1.0", "mzML")
    number = path.stat().st_ino
    assert converted.publish(first, 1, always(KEY)) == [KEY]
    assert not path.exists()
    assert converted.give(KEY, second, "a.mzML")
    assert (second.input / "a.mzML").read_text() == "mzML"
    assert (second.input / "a.mzML").stat().st_ino == number
    assert converted.size(KEY) == 4


def test_a_result_is_never_replaced(storage: Storage, converted: Converted) -> None:
    folder = job(storage, "first")
    for text in ("one", "two"):
        left(folder, "1.0", text)
        converted.publish(folder, 1, always(KEY))
    found = converted.find(KEY)
    assert found is not None
    assert found.read_text() == "one"
    assert [path.name for path in found.parent.iterdir()] == [KEY]


@pytest.mark.parametrize("name", ["1.0.part", "2.0", "1.x", "0", "1.", ".1.0", "1.0 "])
def test_nothing_but_a_whole_file_of_this_attempt_is_taken(storage: Storage, converted: Converted, name: str) -> None:
    folder = job(storage, "first")
    left(folder, name, "half")
    assert converted.publish(folder, 1, always(KEY)) == []
    assert converted.find(KEY) is None


def test_only_files_are_taken_not_what_a_worker_put_in_their_place(storage: Storage, converted: Converted) -> None:
    secret = storage.root / "secret"
    secret.write_text("other people's")
    folder = job(storage, "first")
    left(folder, "1.1", "").unlink()
    (folder.path / ".cumulus.converted" / "1.1").symlink_to(secret)
    (folder.path / ".cumulus.converted" / "1.2").mkdir()
    os.mkfifo(folder.path / ".cumulus.converted" / "1.3")
    assert converted.publish(folder, 1, always(KEY)) == []
    elsewhere = job(storage, "second")
    (elsewhere.path / ".cumulus.converted").symlink_to(folder.path)
    assert converted.publish(elsewhere, 1, always(KEY)) == []
    assert list((storage.root / "converted").iterdir()) == []


def test_what_nobody_asked_for_is_dropped(storage: Storage, converted: Converted) -> None:
    folder = job(storage, "first")
    path = left(folder, "1.7", "what is this?")
    assert converted.publish(folder, 1, lambda _: None) == []
    assert not path.exists()


def test_a_leftover_of_a_killed_controller_is_no_result(storage: Storage, converted: Converted) -> None:
    (storage.root / "converted").mkdir()
    (storage.root / "converted" / f"{KEY}.part").write_text("half")
    assert converted.find(KEY) is None
    assert converted.unused_since(2e10) == [f"{KEY}.part"]
    folder = job(storage, "first")
    left(folder, "1.0", "whole")
    assert converted.publish(folder, 1, always(KEY)) == [KEY]
    assert converted.give(KEY, folder, "a.mzML")
    assert (folder.input / "a.mzML").read_text() == "whole"


def test_a_file_that_was_sent_under_the_result_s_name_is_not_taken_for_it(storage: Storage, converted: Converted) -> None:
    first, second = job(storage, "first"), job(storage, "second")
    left(first, "1.0", "mzML")
    converted.publish(first, 1, always(KEY))
    (second.input / "a.mzML").write_text("something else")
    assert not converted.give(KEY, second, "a.mzML")
    assert not converted.give(OTHER, second, "b.mzML")


def test_results_that_are_long_unused_are_named_oldest_first_and_can_go(storage: Storage, converted: Converted) -> None:
    assert converted.unused_since(2e10) == []
    folder = job(storage, "first")
    for number, key in enumerate((KEY, OTHER)):
        left(folder, f"1.{number}", "mzML")
        converted.publish(folder, 1, always(key))
    os.utime(storage.root / "converted" / KEY, (2000, 2000))
    os.utime(storage.root / "converted" / OTHER, (1000, 1000))
    assert converted.unused_since(2000) == [OTHER]
    assert converted.unused_since(3000) == [OTHER, KEY]
    assert converted.give(OTHER, folder, "a.mzML")
    assert converted.unused_since(3000) == [KEY]
    converted.remove(OTHER)
    converted.remove(OTHER)
    assert converted.find(OTHER) is None
    assert (folder.input / "a.mzML").read_text() == "mzML"


def test_the_same_input_has_the_same_key(source: Path) -> None:
    assert conversion_key(source, COMMAND) == conversion_key(source, list(COMMAND))
    assert len(conversion_key(source, COMMAND)) == len(KEY)


def _grow(path: Path) -> None:
    status = path.stat()
    path.write_text("more raw")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [_grow, _touch])
def test_a_changed_file_has_another_key(source: Path, change: Callable[[Path], None]) -> None:
    before = conversion_key(source, COMMAND)
    change(source)
    assert conversion_key(source, COMMAND) != before


def test_another_name_or_command_makes_another_key(source: Path) -> None:
    before = conversion_key(source, COMMAND)
    assert conversion_key(source, ("convert", "--better", "{source}")) != before
    assert conversion_key(source.rename(source.with_name("b.raw")), COMMAND) != before


@pytest.mark.parametrize("change", [_grow, _touch, Path.unlink, lambda path: path.rename(path.with_name("other"))])
def test_a_folder_s_key_changes_with_any_file_in_it(storage: Storage, change: Callable[[Path], None]) -> None:
    folder = storage.data / "a.d"
    (folder / "deep").mkdir(parents=True)
    for name in ("analysis.tdf", "deep/more"):
        (folder / name).write_text("raw")
    before = conversion_key(folder, COMMAND)
    assert conversion_key(folder, COMMAND) == before
    change(folder / "deep" / "more")
    assert conversion_key(folder, COMMAND) != before


def test_a_missing_source_has_no_key(storage: Storage) -> None:
    with pytest.raises(OSError, match="gone"):
        conversion_key(storage.data / "gone.raw", COMMAND)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_two_commands_share_a_key_only_if_they_are_the_same(one: list[str], other: list[str]) -> None:
    here = Path(__file__)
    assert (conversion_key(here, one) == conversion_key(here, other)) == (one == other)


@pytest.fixture
def former(storage: Storage) -> Callable[[bytes], Path]:
    """What a former version has left: nobody has looked whether it is whole."""

    def leave(content: bytes) -> Path:
        path = storage.root / "converted" / KEY
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return leave


def test_a_result_of_a_former_version_is_read_once_before_a_job_gets_it(
    storage: Storage, former: Callable[[bytes], Path]
) -> None:
    read: list[Path] = []
    converted = Converted(storage.root, lambda path: not read.append(path))  # type: ignore[func-returns-value]
    path = former(b"mzML")
    for name in ("first", "second"):
        assert converted.give(KEY, job(storage, name), "a.mzML")
    assert read == [path]
    assert Converted(storage.root, lambda _: False).give(KEY, job(storage, "third"), "a.mzML")


def test_a_result_of_a_former_version_that_is_not_whole_goes(storage: Storage, former: Callable[[bytes], Path]) -> None:
    path = former(mzml()[:9000])
    folder = job(storage, "first")
    assert not Converted(storage.root).give(KEY, folder, "a.mzML")
    assert not path.exists()
    assert list(folder.input.iterdir()) == []


def test_what_was_judged_is_not_taken_for_a_later_result_of_its_key(storage: Storage, former: Callable[[bytes], Path]) -> None:
    converted = Converted(storage.root, lambda _: False)
    folder = job(storage, "first")
    left(folder, "1.0", "mzML")
    converted.publish(folder, 1, always(KEY))
    converted.remove(KEY)
    former(b"half")
    assert not converted.give(KEY, folder, "a.mzML")


@pytest.mark.parametrize(("content", "whole"), [(mzml(), True), (mzml()[:-200], False), (b"", False), (b"mzML", False)])
def test_the_runner_is_asked_whether_a_file_is_whole(storage: Storage, content: bytes, whole: bool) -> None:
    (storage.data / KEY).write_bytes(content)
    assert is_whole(storage.data / KEY) is whole
