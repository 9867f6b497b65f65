"""Images and memory images made of a few bytes, for tests that start no machine."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.workers.clouds.qemu.accelerator import TCG, Accel
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.images import Image, describe_image

ACCEL = Accel("7.2.22", TCG, "max", "")
SHAPE = Shape(1, 1024, 20)
QCOW2 = b"QFI\xfb\x00\x00\x00\x03" + bytes(16) + (3 << 30).to_bytes(8, "big")


def unique_server() -> str:
    """An installation's id that no other test has: a machine is found by its process's name, in all of this computer."""
    return f"c{uuid.uuid4().hex[:12]}"


def make_image(folder: Path, created: float = 1000.0, build_hash: str = "build hash") -> Image:
    """An image with a disk of 3 GB, as far as its first bytes tell."""
    folder.mkdir(parents=True)
    (folder / "disk.qcow2").write_bytes(QCOW2)
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd").write_bytes(b"initrd")
    return describe_image(folder, created, build_hash)


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[None]:
    """A file system of that size in place of a folder; only root can have one."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_memory(
    image: Image, tmp_path: Path, *, shape: Shape = SHAPE, on_demand: bool = False, saving: memory.Saving = lambda *_: None
) -> memory.MemoryImage:
    """A memory image of it, published as if a machine's memory had been saved; holes are in its RAM, as in a real one."""
    place = memory.reserve(image, shape, "canary-1", on_demand=on_demand)
    with place.ram.open("wb") as file:
        file.write(b"memory")
        file.seek(5 << 20)
        file.write(b"more memory")
        file.truncate(16 << 20)
    place.state.write_bytes(b"state" * 100)
    disk = tmp_path / "machine.qcow2"
    disk.write_bytes(QCOW2)
    return memory.publish(place, memory.origin(ACCEL, shape, image), image, disk, saving)
