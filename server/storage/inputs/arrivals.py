"""What a job's sender says it has sent (``.cumulus.manifest``), and what broken uploads have left.

The agent and ``cumulus submit`` write it before the marker: ``{"version": 1, "files": [{"path", "size", "modified_ns",
"checksum"}, …], "skipped": […], "stored": […]}``. Paths are relative to the storage: ``data/NAME`` for a shared file,
``jobs/JOB/input/NAME`` for one that is the job's own, also where the storage has another file of a shared one's name. A checksum
begins with its algorithm (``sha256:…``); agents before 2.4 wrote the bare number. ``skipped``: what was left out of folders;
``stored``: names of shared files that nobody sent, since the submitter wants those of the storage. Other senders leave no
manifest, and are believed.
"""

import json
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.errors import CumulusError, InvalidInput
from server.storage.folders import JobFolder
from server.storage.paths import require_plain

PARTIAL = ".cumulus.partial"  # where the agent's rsync keeps the beginning of a file
_UNNAMED = re.compile(r"\..+\.[A-Za-z0-9]{6}", re.DOTALL)  # what a killed rsync was writing
UPLOAD = ".upload."  # what a delivery on this computer writes begins so, a folder, too
VERSION = 1
UNREADABLE = "the list of what was sent cannot be read"


class ManifestUnreadable(CumulusError):
    """The list of what was sent is not one."""

    code = "manifest_unreadable"


@dataclass(frozen=True)
class Arrival:
    """One file that was sent. ``path``: relative to the storage; ``modified_ns``: Unix time, 0 where that is not known."""

    path: str
    size: int
    modified_ns: int = 0
    checksum: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether it was sent to where all jobs find it."""
        return self.path.startswith("data/")

    @property
    def inner(self) -> str:
        """Its path below ``data/`` or the job's ``input/``."""
        return self.path.split("/", 1 if self.is_shared else 3)[-1]


@dataclass(frozen=True)
class Sent:
    """All that was sent for a job."""

    files: tuple[Arrival, ...]
    skipped: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()


def read_sent(folder: JobFolder) -> Sent | None:
    """What the job's sender says; None where it says nothing. Raises ManifestUnreadable."""
    try:
        found = json.loads(folder.private.text("manifest"))
        if found["version"] != VERSION:
            raise ManifestUnreadable(UNREADABLE)
        files = tuple(map(_arrival, found["files"]))
        skipped, stored = (tuple(map(str, found.get(key) or ())) for key in ("skipped", "stored"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ManifestUnreadable(UNREADABLE) from None
    for file in files:
        _require_own_or_shared(file.path, folder)
    return Sent(files, skipped, stored)


def write_sent(folder: JobFolder, sent: Sent) -> None:
    """Say what was sent. Raises OSError."""
    files = [asdict(file) for file in sent.files]
    content = {"version": VERSION, "files": files, "skipped": sent.skipped, "stored": sent.stored}
    folder.private.keep("manifest", json.dumps(content, indent=0) + "\n")


def left_over(data: Path, before: float) -> Iterator[Path]:
    """What uploads that broke off for good have left in the shared data, untouched since ``before`` (Unix seconds)."""
    for path in (*data.glob(f"{PARTIAL}/*"), *data.glob(".*")):
        with suppress(OSError):  # gone meanwhile
            if _is_of_an_upload(path, path.lstat().st_mode) and _touched(path) < before:
                yield path


def _touched(path: Path) -> float:
    """When something in it was last written; a folder's own time says nothing of what is below."""
    below: Iterable[Path] = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return max(float(one.lstat().st_ctime) for one in (path, *below))


def left_in(own: Path) -> Iterable[Path]:
    """What deliveries and transfers have left in a job's own input folder. They have ended once the marker is there."""
    return [path for path in own.glob(".*") if path.name == PARTIAL or _is_upload(path)]


def _is_upload(path: Path) -> bool:
    return path.name.startswith(UPLOAD) and _UNNAMED.fullmatch(path.name) is not None


def _is_of_an_upload(path: Path, mode: int) -> bool:
    if path.parent.name == PARTIAL:
        return True
    is_kind = stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and path.name.startswith(UPLOAD))
    return is_kind and _UNNAMED.fullmatch(path.name) is not None


def _arrival(file: Any) -> Arrival:
    return Arrival(str(file["path"]), int(file["size"]), int(file.get("modified_ns") or 0), str(file.get("checksum") or ""))


def _require_own_or_shared(path: str, folder: JobFolder) -> None:
    """Raises ManifestUnreadable for a path that no sender sends to."""
    with suppress(InvalidInput):
        require_plain(path, "path")
        if path.startswith(("data/", f"jobs/{folder.name}/input/")):
            return
    raise ManifestUnreadable(f"{path!r} is no file that an agent sends")
