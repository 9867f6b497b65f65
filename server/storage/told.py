"""What is known of a job's input files before any of them is read: from what the sender says, and from what was pinned.

Only for the record of the run. An entry that makes no sense tells nothing; who decides by these lists reads them more strictly.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from server.catalog.files import one_form
from server.storage.checksums import folder_sha256
from server.storage.folders import JobFolder

SHA256 = "sha256:"


@dataclass(frozen=True)
class Told:
    """``sent``: names of what somebody sent for this job; ``contents``: bytes (None: not known) and SHA-256 by name."""

    sent: frozenset[str] = frozenset()
    contents: dict[str, tuple[int | None, str]] = field(default_factory=dict)

    def is_sent(self, name: str) -> bool:
        """Whether the file or folder of that name was sent."""
        return one_form(name) in self.sent

    def content(self, name: str) -> tuple[int | None, str]:
        """Bytes and SHA-256 of the file or folder of that name; (None, "") where nobody said."""
        return self.contents.get(one_form(name), (None, ""))


def told_of(folder: JobFolder) -> Told:
    """All that the job's folder tells of its input."""
    manifest = _read(folder, "manifest")
    parts: dict[str, dict[str, tuple[int, str]]] = {}
    for path, size, checksum in _files(manifest.get("files"), folder):
        name, _, below = path.partition("/")
        parts.setdefault(one_form(name), {})[below] = (size, checksum)
    contents = {name: _content(files) for name, files in parts.items()}
    for name, checksum in _pins(_read(folder, "pinned").get("pins")):
        contents.setdefault(name, (None, checksum))
    stored = manifest.get("stored")
    taken = {one_form(str(name)) for name in stored} if isinstance(stored, list) else set()
    return Told(frozenset(parts.keys() - taken), contents)


def _read(folder: JobFolder, name: str) -> dict[str, Any]:
    try:
        found = json.loads(folder.private_text(name))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _files(entries: Any, folder: JobFolder) -> Iterator[tuple[str, int, str]]:
    """Path below its place, bytes, and SHA-256 ("" for another checksum) of each file that was sent."""
    tops = ("data/", f"jobs/{folder.name}/input/")
    for entry in entries if isinstance(entries, list) else ():
        try:
            path, size, checksum = str(entry["path"]), int(entry["size"]), str(entry.get("checksum", ""))
        except (TypeError, KeyError, ValueError, AttributeError):
            continue
        for top in tops:
            if path.startswith(top):
                yield path.removeprefix(top), size, _bare(checksum)


def _pins(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and (checksum := _bare(str(entry.get("content", "")))):
            yield one_form(str(entry.get("name", ""))), checksum


def _content(files: dict[str, tuple[int, str]]) -> tuple[int | None, str]:
    size = sum(size for size, _ in files.values())
    if list(files) == [""]:
        return files[""]
    known = all(checksum for _, checksum in files.values())
    return size, folder_sha256({path: checksum for path, (_, checksum) in files.items()}) if known else ""


def _bare(checksum: str) -> str:
    return checksum.removeprefix(SHA256) if checksum.startswith(SHA256) else ""
