"""Bootable images: a folder with a disk, a kernel and an initial RAM disk, and what is known of them.

Owns the folder's format, for the template and for its snapshots alike; who makes them is elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.errors import InfrastructureError, TemplateMissing
from server.workers.clouds.tried import TriedApp, TriedApps, UnknownApps, from_json, to_json

DESCRIPTION = "image.json"
PROGRAMS = "programs.json"
APPS = "apps.json"


@dataclass(frozen=True)
class Image:
    """One image. ``sha256`` covers disk, kernel and RAM disk as they were written; ``disk_bytes`` is the disk's virtual size;
    ``recipe`` names what it was made from, also after a copy.
    """

    folder: Path
    sha256: str
    disk_bytes: int
    created: float
    recipe: str

    @property
    def disk(self) -> Path:
        """The qcow2 file."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """The kernel that QEMU starts."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial RAM disk."""
        return self.folder / "initrd"

    def write_programs(self, names: Sequence[str]) -> None:
        """Write down which of the programs that were looked for a machine of this image has."""
        (self.folder / PROGRAMS).write_text(json.dumps(list(names)) + "\n")

    def has_program(self, name: str) -> bool:
        """Whether it was found; True where nobody looked."""
        try:
            return name in json.loads((self.folder / PROGRAMS).read_text())
        except (OSError, ValueError, TypeError):
            return True

    def write_apps(self, apps: Mapping[str, TriedApp]) -> None:
        """Write down whose version command succeeded on a machine of this image."""
        beside = self.folder / f"{APPS}.new"
        beside.write_text(json.dumps(to_json(apps), indent=1) + "\n")
        beside.rename(self.folder / APPS)

    def tried_apps(self) -> TriedApps:
        """What was written down; nothing is known of an image whose trial was before version 2.4."""
        try:
            return from_json(json.loads((self.folder / APPS).read_text()))
        except (OSError, ValueError):
            return UnknownApps()

    @property
    def memory(self) -> Path:
        """The folder of the memory images that were taken of machines with this disk."""
        return self.folder / "memory"


def describe_image(folder: Path, created: float, recipe: str) -> Image:
    """Write down what lies in ``folder``; last, so that a folder with a description is whole."""
    digest = hashlib.sha256("".join(checksum(folder / name) for name in ("disk.qcow2", "vmlinuz", "initrd")).encode()).hexdigest()
    beside = folder / f"{DESCRIPTION}.new"
    size = virtual_size(folder / "disk.qcow2")
    known = {"sha256": digest, "disk_bytes": size, "created": created, "recipe": recipe}
    beside.write_text(json.dumps(known, indent=1) + "\n")
    beside.rename(folder / DESCRIPTION)
    return Image(folder, digest, size, created, recipe)


def read_image(folder: Path) -> Image:
    """The image in ``folder``. Raises TemplateMissing where there is none, or only half of one."""
    try:
        known = json.loads((folder / DESCRIPTION).read_text())
        image = Image(folder.resolve(), known["sha256"], known["disk_bytes"], known["created"], known["recipe"])
    except (OSError, ValueError, KeyError, TypeError):
        raise TemplateMissing(f"there is no machine image in {folder}: make template, then make snapshot") from None
    if missing := [path.name for path in (image.disk, image.kernel, image.initrd) if not path.is_file()]:
        raise TemplateMissing(f"the machine image in {folder} lacks {', '.join(missing)}: make snapshot")
    return image


def is_image(folder: Path) -> bool:
    """Whether there is a whole image in ``folder``, of a version that this one can read."""
    try:
        read_image(folder)
    except TemplateMissing:
        return False
    return True


def virtual_size(disk: Path) -> int:
    """Bytes that a guest sees of a qcow2 file (https://www.qemu.org/docs/master/interop/qcow2.html: bytes 24 to 31)."""
    with disk.open("rb") as file:
        header = file.read(32)
    if not header.startswith(b"QFI\xfb"):
        raise InfrastructureError(f"{disk} is no qcow2 file")
    return int.from_bytes(header[24:32], "big")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
