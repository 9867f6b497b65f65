"""A memory image is used only where all about it is as it was."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.images import read_image
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


def write_a_byte(path: Path) -> None:
    """Change one byte, and let the file look as if nobody had written to it."""
    before = path.stat()
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def lose_the_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def be_replaced(path: Path) -> None:
    """Another file of the same size and time takes its place."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("checked_before", [True, False])
@pytest.mark.parametrize("change", [write_a_byte, lose_the_end, grow, be_replaced])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ram", "the memory image's ram is not as it was written"),
        ("state", "the memory image's state is not as it was written"),
        ("disk.qcow2", "the memory image's disk is not as it was written"),
        ("../../disk.qcow2", "the snapshot's disk is not as it was written"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_noticed_and_named(
    tmp_path: Path, name: str, reason: str, change: Callable[[Path], None], checked_before: bool
) -> None:
    image = make_image(tmp_path / "1")
    found, wanted = make_memory(image, tmp_path), memory.origin(ACCEL, SHAPE, image)
    assert not checked_before or memory.unfit(found, wanted, image) == ""
    change((found.folder / name).resolve())
    assert memory.unfit(found, wanted, image) == reason


def test_a_copy_with_other_holes_and_times_fits(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    assert memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image) == ""
    shutil.copytree(
        tmp_path / "1", tmp_path / "2", copy_function=lambda source, to: Path(to).write_bytes(Path(source).read_bytes())
    )
    copy = read_image(tmp_path / "2")
    assert memory.unfit(memory.memory_image(copy, SHAPE), memory.origin(ACCEL, SHAPE, copy), copy) == ""


def test_an_image_that_was_withdrawn_is_not_used(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    found = make_memory(image, tmp_path)
    memory.withdraw(found)
    memory.withdraw(found)
    assert memory.unfit(found, memory.origin(ACCEL, SHAPE, image), image) == "no memory image for 1c-1024m-20g"


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


def test_what_is_saved_is_told_with_how_much_of_it_is_through(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    made = make_memory(make_image(tmp_path / "image"), tmp_path, saving=lambda *one: told.append(one))
    assert [text for text, _, _ in told][:3] == [
        "flushing its memory",
        "flushing its disk",
        "reading its memory for the checksum",
    ]
    done = [through for _, through, _ in told]
    assert done == sorted(done)
    assert told[-1] == ("", told[0][2], told[0][2])
    assert 0 < told[0][2] <= made.allocated()


def test_a_disk_that_cannot_hold_the_memory_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    image = make_image(tmp_path / "1")
    with pytest.raises(InfrastructureError, match=r"needs .* MB free on the disk"):
        memory.reserve(image, Shape(1, 1 << 40, 20), "canary-1")
    assert list(image.memory.iterdir()) == []


def test_what_is_made_on_demand_leaves_a_gigabyte_to_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_image(tmp_path / "1")
    enough = memory.expected_bytes(SHAPE) + memory.STATE_RESERVE
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=enough))
    assert memory.reserve(image, SHAPE, "canary-1").on_demand is False
    with pytest.raises(InfrastructureError, match="MB free on the disk"):
        memory.reserve(image, SHAPE, "canary-1", on_demand=True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=enough + memory.LEFT_FREE))
    assert memory.reserve(image, SHAPE, "canary-1", on_demand=True).on_demand


def test_a_sparse_image_counts_by_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    found = make_memory(make_image(tmp_path / "1"), tmp_path)
    assert found.allocated() < 1 << 20 < found.ram.stat().st_size


def test_a_large_machine_is_expected_to_write_to_a_small_part_of_its_memory() -> None:
    assert memory.expected_bytes(Shape(1, 256, 20)) == 256 << 20
    assert memory.expected_bytes(Shape(1, 65536, 20)) < 4 << 30
