"""What the agent says it has sent for a job, compared with what is there, and what broken uploads have left.

The agent writes ``.cumulus.manifest`` before the marker: ``{"version": 1, "files": [{"path", "size", …}, …]}``, paths relative to
the storage. Both rsyncs have compared checksums by then; what can still be wrong is found by looking: a file that is gone, cut
off, or another one meanwhile. Other senders leave no manifest, and then there is nothing to compare.
"""

import json
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.errors import InvalidInput
from server.storage.folders import JobFolder
from server.storage.paths import require_plain

PARTIAL = ".cumulus.partial"  # where the agent's rsync keeps the beginning of a file
_UNNAMED = re.compile(r"\..+\.[A-Za-z0-9]{6}", re.DOTALL)  # what a killed rsync was writing
UPLOAD = ".upload."  # what a delivery on this computer writes begins so, a folder, too
VERSION = 1
UNREADABLE = "the list of what was sent cannot be read"


def incomplete(folder: JobFolder, storage: Path) -> list[str]:
    """What is not in the storage as the agent has sent it, in words; empty where all is, or nobody says what there should be."""
    try:
        text = folder.private_text("manifest")
    except FileNotFoundError:
        return []
    except OSError:
        return [UNREADABLE]
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            return [UNREADABLE]
        expected = [(str(file["path"]), int(file["size"])) for file in found["files"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return [UNREADABLE]
    return [problem for path, size in expected if (problem := _compare(folder, storage, path, size))]


def left_over(data: Path, before: float) -> Iterator[Path]:
    """What uploads that broke off for good have left in the shared data, untouched since ``before`` (Unix seconds)."""
    for path in (*data.glob(f"{PARTIAL}/*"), *data.glob(".*")):
        with suppress(OSError):  # gone meanwhile
            found = path.lstat()
            if _is_of_an_upload(path, found.st_mode) and found.st_ctime < before:
                yield path


def _is_of_an_upload(path: Path, mode: int) -> bool:
    if path.parent.name == PARTIAL:
        return True
    is_kind = stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and path.name.startswith(UPLOAD))
    return is_kind and _UNNAMED.fullmatch(path.name) is not None


def _compare(folder: JobFolder, storage: Path, path: str, size: int) -> str:
    """What is the matter with one file; "" where nothing is."""
    try:
        require_plain(path, "path")
    except InvalidInput:
        return f"{path!r} is no file that an agent sends"
    if not path.startswith(("data/", f"jobs/{folder.name}/input/")):
        return f"{path!r} is no file that an agent sends"
    name = path.removeprefix(f"jobs/{folder.name}/")
    try:
        found = (storage / path).lstat()
    except OSError:
        return f"{name} is gone"
    if not stat.S_ISREG(found.st_mode):
        return f"{name} is no file"
    return "" if found.st_size == size else f"{name} has {found.st_size} bytes, not {size}"
