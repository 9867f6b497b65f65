"""A memory image is used only where all about it is as it was."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.qemu import memory
from server.workers.clouds.qemu.command import Shape
from tests.workers.clouds.qemu.building import ACCEL, SHAPE, make_image, make_memory


def why_not(tmp_path: Path, **other: str) -> str:
    """Why the image in ``tmp_path`` does not fit a machine that differs in this."""
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    wanted = memory.origin(replace(ACCEL, **other), SHAPE, image)
    return memory.unfit(found, wanted, image)


def test_what_was_saved_fits_the_same_machine(tmp_path: Path) -> None:
    assert why_not(tmp_path) == ""


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"qemu": "8.0.0"}, "another QEMU version"),
        ({"argument": "kvm"}, "another accelerator"),
        ({"cpu": "host"}, "another CPU model"),
        ({"host": "model name: other"}, "another processor"),
    ],
)
def test_another_qemu_or_processor_does_not_fit(tmp_path: Path, other: dict[str, str], reason: str) -> None:
    assert why_not(tmp_path, **other) == f"the memory image was made with {reason}"


def test_each_size_has_its_own(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    make_memory(image, tmp_path)
    larger = Shape(2, 2048, 20)
    wanted = memory.origin(ACCEL, larger, image)
    assert memory.unfit(memory.memory_image(image, larger), wanted, image) == "no memory image for 2c-2048m-20g"


def test_a_machine_with_other_devices_does_not_fit(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    wanted = replace(memory.origin(ACCEL, SHAPE, image), devices="other")
    assert memory.unfit(found, wanted, image) == "the memory image was made with other devices"


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2"])
def test_a_file_that_lost_its_end_is_noticed(tmp_path: Path, name: str) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    path = found.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    assert "is not as it was written" in memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image)


def test_a_state_with_one_wrong_byte_is_noticed(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    found.state.write_bytes(b"S" + found.state.read_bytes()[1:])
    assert "state is not as it was written" in memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image)


def test_a_disk_that_was_written_to_afterwards_is_noticed(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    os.utime(found.disk)
    assert "disk is not as it was written" in memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image)


def test_a_snapshot_that_was_written_to_is_noticed(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    os.utime(image.disk)
    assert memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image) == "the snapshot's disk was written to"


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2"])
def test_a_missing_file_is_noticed(tmp_path: Path, name: str) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    (found.folder / name).unlink()
    assert "incomplete" in memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"origin": {}, "files": {}}', '{"origin": {"qemu": 1}}'])
def test_a_broken_fingerprint_is_a_reason_and_no_error(tmp_path: Path, text: str) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    found.fingerprint.write_text(text)
    assert memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image) != ""


def test_nothing_counts_before_it_is_published(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    place = memory.reserve(image, SHAPE, "canary-1")
    assert memory.reserved_for(image, SHAPE, "canary-1") == place
    assert memory.reserved_for(image, SHAPE, "job-1") is None
    assert memory.unfit(memory.memory_image(image, SHAPE), memory.origin(ACCEL, SHAPE, image), image).startswith(
        "no memory image"
    )


def test_publishing_takes_the_disk_and_ends_the_reservation(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    assert not (tmp_path / "machine.qcow2").exists()
    assert memory.reserved_for(image, SHAPE, "canary-1") is None
    assert json.loads(found.fingerprint.read_text())["origin"]["shape"] == "1c-1024m-20g"


def test_a_disk_that_cannot_hold_the_memory_is_refused_before(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    with pytest.raises(InfrastructureError, match=r"needs .* MB on the disk"):
        memory.reserve(image, Shape(1, 1 << 40, 20), "canary-1")
