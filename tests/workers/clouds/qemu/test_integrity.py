"""Files are read once, and again only when something may have changed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.home.files import InTheWay
from server.workers.clouds.qemu.images import integrity
from server.workers.clouds.qemu.images.integrity import CHUNK, Content, Reader, first_changed, read_again


class Reading:
    """Counts how often a file is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        whole = Content.of

        def of(path: Path) -> Content:
            self.times += 1
            return whole(path)

        monkeypatch.setattr(Content, "of", of)


def written(path: Path, data: bytes = b"some data") -> Mapping[Path, Content]:
    path.write_bytes(data)
    return {path: Content.of(path)}


def test_a_file_is_read_once_for_many_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path / "a")
    reading = Reading(monkeypatch)
    assert [first_changed(files, tmp_path / "checked.json") for _ in range(3)] == [None] * 3
    assert reading.times == 1
    assert read_again(files, tmp_path / "checked.json") is None
    assert reading.times == 2


def test_it_is_read_again_when_it_may_have_been_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"
    first_changed(files, record)
    reading = Reading(monkeypatch)
    os.utime(tmp_path / "a")
    assert first_changed(files, record) is None
    assert first_changed(files, record) is None
    assert reading.times == 1


def test_it_is_read_again_after_the_computer_has_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"
    first_changed(files, record)
    (tmp_path / "boot").write_text("another start")
    monkeypatch.setattr(integrity, "BOOT_ID", tmp_path / "boot")
    reading = Reading(monkeypatch)
    assert first_changed(files, record) is None
    assert reading.times == 1


def test_a_hard_link_that_is_made_while_it_is_read_is_no_damage(tmp_path: Path) -> None:
    files, record, links = written(tmp_path / "a"), tmp_path / "checked.json", iter(("b", "c"))

    def read(path: Path) -> Content:
        content = Content.of(path)
        if name := next(links, ""):
            (tmp_path / name).hardlink_to(path)
        return content

    assert read_again(files, record, read) is None
    assert first_changed(files, record) is None


def test_what_goes_on_changing_while_it_is_read_counts_as_changed(tmp_path: Path) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"

    def read(path: Path) -> Content:
        content = Content.of(path)
        path.touch()
        return content

    assert read_again(files, record, read) == tmp_path / "a"
    assert not record.exists()


def test_what_was_written_while_it_was_read_is_found_though_it_is_read_once_for_many(tmp_path: Path) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"
    reader, damages = Reader(), iter((b"other dat",))

    def read(path: Path) -> Content:
        content = reader(path)
        if data := next(damages, b""):
            path.write_bytes(data)
        return content

    assert read_again(files, record, read) == tmp_path / "a"


def test_a_record_for_another_content_does_not_count(tmp_path: Path) -> None:
    """An image is made anew while the record of the former one stays: what was right then is wrong now."""
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"
    first_changed(files, record)
    assert first_changed({tmp_path / "a": Content(9, "0" * 64)}, record) == tmp_path / "a"


@pytest.mark.parametrize("text", ["", "{}", "[1", "\udcff"])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, text: str) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"
    record.write_bytes(text.encode(errors="surrogateescape"))
    assert first_changed(files, record) is None
    assert json.loads(record.read_text()).keys() == {"boot", "looks", "contents"}


def test_what_was_found_wrong_is_read_each_time_and_stays_wrong(tmp_path: Path) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"
    first_changed(files, record)
    (tmp_path / "a").write_bytes(b"Some data")
    assert [first_changed(files, record) for _ in range(2)] == [tmp_path / "a"] * 2
    assert not record.exists()


def test_a_record_that_cannot_be_written_costs_another_reading_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, record = written(tmp_path / "a"), tmp_path / "checked.json"

    def full(*_: object) -> None:
        raise InTheWay("No space left on device")

    monkeypatch.setattr(integrity, "write_own", full)
    assert first_changed(files, record) is None
    assert not record.exists()


def test_holes_zeros_and_their_places_make_the_content(tmp_path: Path) -> None:
    contents = {}
    for name, holes in (("sparse", True), ("full", False)):
        with (tmp_path / name).open("wb") as file:
            file.write(b"a" * 10)
            file.seek(3 * CHUNK) if holes else file.write(bytes(3 * CHUNK - 10))
            file.write(b"b")
            file.truncate(8 * CHUNK + 5) if holes else file.write(bytes(5 * CHUNK + 4))
        contents[name] = Content.of(tmp_path / name)
    assert (tmp_path / "sparse").stat().st_blocks < (tmp_path / "full").stat().st_blocks
    assert contents["sparse"] == contents["full"]
    with (tmp_path / "full").open("r+b") as file:  # the same bytes elsewhere
        file.seek(3 * CHUNK)
        file.write(bytes(1))
        file.seek(4 * CHUNK)
        file.write(b"b")
    assert Content.of(tmp_path / "full") != contents["sparse"]


def test_nothing_but_a_hole_and_nothing_at_all_have_a_content(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 5 * CHUNK)
    assert Content.of(tmp_path / "empty").size == 0
    assert Content.of(tmp_path / "hole").size == 5 * CHUNK
