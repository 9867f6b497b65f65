"""Bootable images: a folder with a disk, a kernel and an initial RAM disk, and what is known of them.

Owns the folder's format, for the template and for its snapshots alike; who makes them is elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from programs.errors import explained
from server.errors import InfrastructureError, TemplateMissing
from server.home.files import open_own, read_own, read_own_text, write_own
from server.workers.clouds.qemu.images.integrity import Content, first_changed
from server.workers.clouds.smoke_results import AppResult, NoResults, SmokeResults, from_json, to_json

DESCRIPTION = "image.json"
PROGRAMS = "programs.json"
APPS = "apps.json"
CHECKED = "checked.json"
BOOTED = ("vmlinuz", "initrd")
REMEDY = "`cumulus snapshot rollback` returns to the previous one, `make snapshot` makes a new one"


@dataclass(frozen=True)
class Image:
    """One image. ``sha256`` covers disk, kernel and RAM disk as they were written; ``disk_bytes`` is the disk's virtual size;
    ``build_hash`` names what it was made from, also after a copy.
    """

    folder: Path
    sha256: str
    disk_bytes: int
    created: float
    build_hash: str

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
        write_own(self.folder / PROGRAMS, json.dumps(list(names)) + "\n", 0o644)

    def has_program(self, name: str) -> bool:
        """Whether it was found; True where nobody looked."""
        try:
            found = json.loads(read_own_text(self.folder / PROGRAMS))
        except (OSError, ValueError):
            return True
        return name in found if isinstance(found, list) else True

    def write_apps(self, apps: Mapping[str, AppResult]) -> None:
        """Write down whose version command succeeded on a machine of this image."""
        write_own(self.folder / APPS, json.dumps(to_json(apps), indent=1) + "\n", 0o644)

    def smoke_results(self) -> SmokeResults:
        """What was written down; nothing is known of an image that was tested before version 2.4."""
        try:
            return from_json(json.loads(read_own_text(self.folder / APPS)))
        except (OSError, ValueError):
            return NoResults()

    @property
    def memory(self) -> Path:
        """The folder of the memory images that were taken of machines with this disk."""
        return self.folder / "memory"


def describe_image(folder: Path, created: float, build_hash: str) -> Image:
    """Write down what lies in ``folder``; last, so that a folder with a description is whole."""
    digest = hashlib.sha256("".join(checksum(folder / name) for name in ("disk.qcow2", "vmlinuz", "initrd")).encode()).hexdigest()
    size = virtual_size(folder / "disk.qcow2")
    booted = {name: asdict(Content.of(folder / name)) for name in BOOTED}
    known = {"sha256": digest, "disk_bytes": size, "created": created, "recipe": build_hash, "booted": booted}
    write_own(folder / DESCRIPTION, json.dumps(known, indent=1) + "\n", 0o644)
    return Image(folder, digest, size, created, build_hash)


def read_image(folder: Path) -> Image:
    """The image in ``folder``. Raises TemplateMissing where there is none, or only half of one."""
    try:
        known = json.loads(read_own(folder / DESCRIPTION))
        texts = (str(known["sha256"]), int(known["disk_bytes"]), float(known["created"]), str(known["recipe"]))
    except FileNotFoundError:
        raise TemplateMissing(f"there is no machine image in {folder}: make template, then make snapshot") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise TemplateMissing(f"the machine image in {folder} lacks an {DESCRIPTION} that can be read: {REMEDY}") from None
    image = Image(folder.resolve(), *texts)
    if missing := [path.name for path in (image.disk, image.kernel, image.initrd) if not path.is_file()]:
        raise TemplateMissing(f"the machine image in {folder} lacks {', '.join(missing)}: {REMEDY}")
    return image


def require_integrity(image: Image) -> None:
    """Before a machine boots from it: raises TemplateMissing where a file is not as it was written.

    They are read once in a computer's life between two boots, see integrity.py. Versions before 2.4 wrote down less of them.
    """
    files = {image.folder / name: content for name, content in _booted(image).items()}
    try:
        changed = first_changed(files, image.folder / CHECKED) if files else None
    except OSError as problem:
        raise TemplateMissing(
            f"the machine image in {image.folder} lacks what it is made of ({explained(problem)}): {REMEDY}"
        ) from None
    if changed:
        raise TemplateMissing(f"the machine image in {image.folder} lacks an intact {changed.name}: {REMEDY}")


def _booted(image: Image) -> dict[str, Content]:
    """What the files were when the image was made; of the disk as its memory images tell."""
    found: dict[str, Content] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        known = json.loads(read_own(image.folder / DESCRIPTION))["booted"]
        found.update((name, Content(**known[name])) for name in BOOTED)
    for path in sorted(image.memory.glob("*/fingerprint.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found[image.disk.name] = Content(**json.loads(read_own(path))["files"]["snapshot"])
            break
    return found


def is_image(folder: Path) -> bool:
    """Whether there is a whole image in ``folder``, of a version that this one can read."""
    try:
        read_image(folder)
    except TemplateMissing:
        return False
    return True


def virtual_size(disk: Path) -> int:
    """Bytes that a guest sees of a qcow2 file (https://www.qemu.org/docs/master/interop/qcow2.html: bytes 24 to 31)."""
    with open_own(disk) as file:
        header = file.read(32)
    if not header.startswith(b"QFI\xfb"):
        raise InfrastructureError(f"{disk} is no qcow2 file")
    return int.from_bytes(header[24:32], "big")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open_own(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
