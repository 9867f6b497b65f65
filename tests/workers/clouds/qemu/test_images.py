"""An image counts when it is whole."""

from pathlib import Path

import pytest

from server.errors import InfrastructureError, TemplateMissing
from server.workers.clouds.qemu.images.images import describe_image, read_image, virtual_size
from server.workers.clouds.smoke_results import AppResult, short
from tests.workers.clouds.qemu.building import make_image


def test_what_was_described_is_read(tmp_path: Path) -> None:
    made = make_image(tmp_path / "1", created=1234.5)
    assert read_image(tmp_path / "1") == made
    assert (made.created, made.disk_bytes) == (1234.5, 3 << 30)


def test_the_checksum_covers_the_kernel(tmp_path: Path) -> None:
    first = make_image(tmp_path / "1")
    second = tmp_path / "2"
    second.mkdir()
    for name in ("disk.qcow2", "initrd"):
        (second / name).write_bytes((tmp_path / "1" / name).read_bytes())
    (second / "vmlinuz").write_bytes(b"another kernel")
    assert describe_image(second, 1000.0, "recipe").sha256 != first.sha256


@pytest.mark.parametrize("name", ["disk.qcow2", "vmlinuz", "initrd"])
def test_an_image_without_one_of_its_files_says_which(tmp_path: Path, name: str) -> None:
    make_image(tmp_path / "1")
    (tmp_path / "1" / name).unlink()
    with pytest.raises(TemplateMissing, match=name):
        read_image(tmp_path / "1")


def test_no_image_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TemplateMissing, match="make template"):
        read_image(tmp_path / "current")


def test_what_is_no_qcow2_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(64))
    with pytest.raises(InfrastructureError, match="no qcow2"):
        virtual_size(tmp_path / "x")


def test_the_programs_that_were_found_are_known_and_others_are_not_where_nobody_looked(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    assert image.has_program("msconvert")
    image.write_programs(["msconvert"])
    assert image.has_program("msconvert")
    assert not image.has_program("ThermoRawFileParser")


def test_the_apps_that_ran_are_known_and_all_are_taken_where_nobody_wrote_it_down(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    assert not image.smoke_results().are_known
    assert image.smoke_results().version("comet_1", "comet -V") == ""
    image.write_apps({"comet_1": AppResult(short("comet -V"), "Comet 1")})
    assert image.smoke_results().version("comet_1", "comet -V") == "Comet 1"
    assert image.smoke_results().version("comet_1", "comet --version") is None
    assert image.smoke_results().lacks("other_1", "true")
    assert not (tmp_path / "image" / "apps.json.new").exists()


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": {"command": 1}}'])
def test_a_memory_of_apps_that_cannot_be_read_holds_nothing_against_them(tmp_path: Path, garbage: bytes) -> None:
    image = make_image(tmp_path / "image")
    (tmp_path / "image" / "apps.json").write_bytes(garbage)
    assert image.smoke_results().version("comet_1", "comet -V") == ""
