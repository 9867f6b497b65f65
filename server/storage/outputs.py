"""The result files of jobs as clients ask for them, again and again: a job may have a hundred thousand.

Owns which of them are listed, and when they are listed again. A list that is cheap to make is made each time. Any other one is
good for ten times as long as it took, and that of a job that has ended while none of its folders has changed: a runner replaces
files, it does not write over them.
"""

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import PurePosixPath

from server.storage.folders import JobFolder

CHEAP_S = 0.02
FACTOR = 10  # times as long as a list took it is good for, however the folder changes
FEW = 2000  # files up to which several threads may list at once
MAX_FILES = 200_000
MAX_JSON_BYTES = 16 << 20
MAX_KEPT_BYTES = 24 << 20
NOT_NAME = 24  # bytes that a file takes in the list beside its name, roughly


@dataclass(frozen=True)
class Listing:
    """The files as JSON: an array of ``[path, bytes]``; ``stamp`` is another one where they are others."""

    json: bytes
    stamp: bytes


@dataclass
class _Kept:
    listing: Listing
    took: float
    at: float
    folders: dict[str, int]


class Outputs:
    """The lists made lately, within ``max_bytes``, of the files that are ``wanted``. Safe to be used from several threads.

    ``clock``: seconds that never jump.
    """

    def __init__(
        self,
        wanted: Callable[[str], bool] = lambda _path: True,
        clock: Callable[[], float] = time.monotonic,
        max_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self._wanted = wanted
        self._clock = clock
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._many = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def listing(self, folder: JobFolder, *, has_ended: bool) -> Listing:
        """The result files of a job. A very long list ends after MAX_FILES, or MAX_JSON_BYTES."""
        with self._lock:
            kept = self._kept.get(folder.name)
        if kept and self._is_good(kept, folder, has_ended=has_ended):
            return kept.listing
        return self._list(folder)

    def _is_good(self, kept: _Kept, folder: JobFolder, *, has_ended: bool) -> bool:
        if self._clock() - kept.at < FACTOR * kept.took:
            return True
        if not has_ended or _changes(folder, kept.folders) != kept.folders:
            return False
        kept.at = self._clock()
        return True

    def _list(self, folder: JobFolder) -> Listing:
        began = self._clock()
        top = _changes(folder, [""])
        files = _bounded(one for one in folder.results.each_file() if self._wanted(one[0]))
        found = list(islice(files, FEW))
        if len(found) < FEW:
            text = _encoded(found)
            took = self._clock() - began
        else:
            with self._many:  # it takes memory, so one at a time; who waited for the same one finds it made
                with self._lock:
                    kept = self._kept.get(folder.name)
                if kept and kept.at > began:
                    return kept.listing
                began = self._clock()
                found += files
                text = _encoded(found)
                took = self._clock() - began
        listing = Listing(text, blake2b(text, digest_size=16).digest())
        if took > CHEAP_S:
            self._keep(folder, _Kept(listing, took, self._clock(), top | _changes(folder, _folders(found))))
        return listing

    def _keep(self, folder: JobFolder, kept: _Kept) -> None:
        with self._lock:
            self._kept[folder.name] = kept
            self._kept.move_to_end(folder.name)
            while len(self._kept) > 1 and sum(len(one.listing.json) for one in self._kept.values()) > self._max_bytes:
                self._kept.popitem(last=False)


def _bounded(files: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    length = 0
    for name, size in islice(files, MAX_FILES):
        length += len(name) + NOT_NAME
        if length > MAX_JSON_BYTES:
            return
        yield name, size


def _encoded(found: list[tuple[str, int]]) -> bytes:
    found.sort()
    return json.dumps(found, ensure_ascii=True).encode()


def _folders(found: list[tuple[str, int]]) -> set[str]:
    """The folders that hold the files, each with those above it."""
    direct = {name.rpartition("/")[0] for name, _ in found}
    return {
        str(above) if above.name else "" for folder in direct for above in (PurePosixPath(folder), *PurePosixPath(folder).parents)
    }


def _changes(folder: JobFolder, names: "set[str] | list[str] | dict[str, int]") -> dict[str, int]:
    """When each of the folders changed, in nanoseconds; 0 where it is not there."""
    return {name: _changed(os.path.join(folder.output, name)) for name in names}  # noqa: PTH118  # ten times as fast


def _changed(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0
