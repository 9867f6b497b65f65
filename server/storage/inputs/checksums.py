"""SHA-256 of a file or folder in the storage: the sums that the runner's ``inspection.py`` has, too."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from server.storage.regular import open_regular

CHUNK_BYTES = 1024 * 1024
Heard = Callable[[int], None]  # is called with each number of bytes that was read


def unheard(_size: int) -> None:
    """For callers that show no progress."""


def content_sha256(path: Path, heard: Heard = unheard) -> str:
    """Of a file its own sum; of a folder that of its files' sums and names. Follows no links. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        return folder_sha256({name: _file_sha256(path / name, heard) for name in _files(path)})
    return _file_sha256(path, heard)


def folder_sha256(files: Mapping[str, str]) -> str:
    """Of a folder, by the sums of the files at each path in it."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{files[name]}  {name}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _file_sha256(path: Path, heard: Heard) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            heard(len(chunk))
    return digest.hexdigest()


def _files(top: Path) -> list[str]:
    return [os.path.relpath(Path(folder, name), top) for folder, _, names in os.walk(top) for name in names]
