"""What arrived: each file's path, size, time and checksum. Kept with a transfer, and sent beside the marker for the controller.

``.cumulus.manifest`` in a job's folder: ``{"version": 1, "files": [{"path", "size", "modified_ns", "checksum"}, …],
"skipped": ["x.d/link", …]}``. Paths of files are relative to the storage: ``data/NAME`` for what jobs share,
``jobs/JOB/input/NAME`` for what is this job's alone, also where the shared data has something else of that name. A checksum
is what the two rsyncs have compared, in hexadecimal: xxh128 of 3.2 and later, MD5 before. ``skipped``: what was left out of
folders (``agent.sources.skipping``), from the folder's name on.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

VERSION = 1


@dataclass(frozen=True)
class Arrived:
    """One file in the storage. ``path``: relative to its place, so it begins with the transfer's name.

    ``modified_ns``: Unix time; 0 where it is not known.
    """

    path: str
    size: int
    modified_ns: int
    checksum: str = ""


def to_text(files: Iterable[Arrived]) -> str:
    """For a transfer's row."""
    return json.dumps([[file.path, file.size, file.modified_ns, file.checksum] for file in files])


def from_text(text: str) -> list[Arrived]:
    """What :func:`to_text` wrote."""
    return [Arrived(*line) for line in json.loads(text or "[]")]


def manifest(parts: Iterable[tuple[str, str]], skipped: Iterable[str] = ()) -> str:
    """A job's manifest, from (place, contents) of its transfers, and what was left out of them."""
    files = [asdict(file) | {"path": f"{place}/{file.path}"} for place, text in parts for file in from_text(text)]
    return json.dumps({"version": VERSION, "files": files, "skipped": sorted(set(skipped))}, indent=0) + "\n"
