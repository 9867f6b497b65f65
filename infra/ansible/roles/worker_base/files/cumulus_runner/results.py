"""The way back: everything that the app left in output/ is copied into the job's folder, flushed there and compared.

It is gathered in a folder of our own beside ``output/``, which takes its place when all is there: nobody sees a half of it, and
no name of ours hangs on a result's own. What cannot be stored is told by name and keeps nothing else from being stored.

Only files and folders are taken, and links to files within the work folder: what a link elsewhere shows is not the app's result.
Nothing of the app runs any more when this begins.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Callable, TypeVar, cast

from cumulus_runner import names
from cumulus_runner.copying import FULL, Copy, open_result, why
from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.folder import is_full, sync_folder
from cumulus_runner.journal import Journal
from cumulus_runner.orders import Places
from cumulus_runner.outputs import Item, Outputs, Taken
from cumulus_runner.programs import StopRequest
from cumulus_runner.room import Room

HELPERS = 3  # threads beside the first: each file costs the storage a few answers, which are awaited at once
BATCH, BATCH_BYTES = 64, 16 * 1024 * 1024  # files that are flushed together, and their bytes
FEW = 8  # files for which no helpers are called
TOLD = 20  # names in one message
TOLD_LETTERS = 200  # of each
GATHERED = ".cumulus.results"
T = TypeVar("T")


@dataclass
class Stored:
    """What was copied, and what was not. ``missing``: names and why; ``entries``: as they stand in the run's report."""

    files: int = 0
    size: int = 0
    skipped: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def require_all(self) -> None:
        """Raises StageFailed where a result is not in the storage, with what the job's owner has to know."""
        which = _listed([f"{shown(name)} ({reason})" for name, reason in self.missing])
        if self.missing and not self.files:
            raise StageFailed(f"no result could be stored: {which}")
        if self.missing:
            count = len(self.missing)
            raise StageFailed(f"{count} of the results could not be stored: {which}; the others are there ({self.files})")


class NoRoom(OSError):
    """A file that is larger than what is free."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Results:
    """Copies one job's results."""

    def __init__(self, places: Places, journal: Journal, stop: StopRequest, room: Room) -> None:
        self._source = places.output
        self._inside = os.path.realpath(places.work) + os.sep
        self._target = os.path.join(places.job, "output")
        self._gathered = os.path.join(places.job, GATHERED)
        self._journal = journal
        self._stop = stop
        self._room = room
        self._lock = threading.Lock()
        self._stored = Stored()
        self._outputs = Outputs(places.output, self._gathered, self._with_room)
        self._late: list[Item] = []  # there was no room for them yet
        self._failed: list[tuple[Item, str]] = []
        self._tried = False  # whether there seemed to be room

    def store(self) -> Stored:
        """Copy all that can be copied; on disk and in its place when this returns. Raises StageFailed, Stopped."""
        try:
            self._with_room(self._forget_earlier)
            self._gather()
            self._with_room(self._publish)
        except OSError as problem:
            raise StageFailed(f"the results could not be stored: {why(problem)}: {problem.filename or self._target}") from None
        finally:
            shutil.rmtree(self._gathered, ignore_errors=True)  # on a full storage its room is needed to say so
        self._stored.entries.sort(key=lambda entry: str(entry["path"]))
        if self._stored.skipped:
            skipped = _listed([shown(name) for name in sorted(self._stored.skipped)])
            self._journal.server(f"not stored, since they are no files of this job: {skipped}")
        if renamed := len(self._outputs.renamed):
            self._journal.server(f"results with another name in the storage: {renamed}; {self._outputs.list_name} lists them")
        return self._stored

    def _with_room(self, work: Callable[[], T]) -> T:
        """Do it, where need be when there is room. Raises OSError, StageFailed, Stopped."""
        done, problem = _attempt(work)
        while problem:
            if not is_full(problem) or not self._room.wait(tried=True):
                raise problem
            done, problem = _attempt(work)
        return cast("T", done)

    def _forget_earlier(self) -> None:
        """What an attempt that broke off here has left is not this one's result. Raises StageFailed, OSError."""
        for folder in (self._target, self._gathered):
            if os.path.islink(folder):  # all that it leads to would be removed
                raise StageFailed(f"the results could not be stored: {folder} is a link")
            _clear(folder)
        found = os.stat(self._target)
        os.chmod(self._gathered, stat.S_IMODE(found.st_mode))
        with suppress(OSError):  # whose folder it was may clean it up later
            os.chown(self._gathered, found.st_uid, found.st_gid)

    def _gather(self) -> None:
        """Copy all, once more what failed, and wait for room where there is none. Raises Stopped."""
        self._copy_all(self._outputs.items())
        failed, self._failed = self._failed, []
        self._copy_all(iter([item for item, _ in failed]))
        self._await_room()
        self._stored.missing += [*self._outputs.missing, *((item.source, reason) for item, reason in self._failed)]
        if self._outputs.renamed:
            self._store_list()
        for folder in self._outputs.folders:
            self._sync(folder)

    def _await_room(self) -> None:
        while self._late:
            if not self._room.wait(tried=self._tried):
                self._failed += [(item, FULL) for item in self._late]
                return
            late, self._late, self._tried = self._late, [], False
            self._copy_all(iter(late))
        self._room.over()

    def _sync(self, folder: str) -> None:
        try:
            sync_folder(os.path.join(self._gathered, folder))
        except OSError as problem:
            self._stored.missing.append((f"{folder}/", why(problem)))

    def _publish(self) -> None:
        """Put what was gathered in the place of ``output/``."""
        try:
            os.rename(self._gathered, self._target)
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _clear(self._target)  # somebody has put something there meanwhile
            os.rename(self._gathered, self._target)
        sync_folder(os.path.dirname(self._target))

    def _copy_all(self, items: Iterator[Item]) -> None:
        """Copy them, by several threads where there are many. Raises Stopped."""
        taken = Taken(items)
        self._copy_some(islice(taken, FEW))
        following = next(taken, None)
        if following is not None:
            helpers = [threading.Thread(target=self._copy_some, args=(taken,), daemon=True) for _ in range(HELPERS)]
            for helper in helpers:
                helper.start()
            self._copy_some(iter([following]))
            self._copy_some(taken)
            for helper in helpers:
                helper.join()
        if taken.broken:
            raise taken.broken
        if self._stop.made:
            raise Stopped

    def _copy_some(self, items: Iterator[Item]) -> None:
        batch: list[tuple[Item, Copy]] = []
        for item in items:
            if copy := self._copied(item):
                batch.append((item, copy))
            if len(batch) >= BATCH or sum(copy.size for _, copy in batch) >= BATCH_BYTES:
                self._finish(batch)
                batch = []
            if self._stop.made:
                break
        self._finish(batch)

    def _copied(self, item: Item) -> Copy | None:
        """A copy that has to be finished; None where the file is none of the results, or there can be no copy now."""
        try:
            return self._copy(item)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it costs this file only, and is told
            self._note_failed(item, problem)
        return None

    def _finish(self, batch: list[tuple[Item, Copy]]) -> None:
        if len(batch) > 1:
            for _, copy in batch:
                copy.begin_flush()
        for item, copy in batch:
            self._finish_one(item, copy)

    def _finish_one(self, item: Item, copy: Copy) -> None:
        if self._stop.made:
            return copy.discard()
        try:
            copy.finish()
        except Exception as problem:  # noqa: BLE001 - as above
            return self._note_failed(item, problem)
        self._note_stored(item, copy)

    def _note_stored(self, item: Item, copy: Copy) -> None:
        path = os.path.join(item.folder, copy.name)
        with self._lock:
            self._stored.files += 1
            self._stored.size += copy.size
            self._stored.entries.append({"path": path, "size": copy.size, "sha256": copy.sha256})
        if copy.name != item.name:
            self._outputs.note_renamed(path, item.source)

    def _note_failed(self, item: Item, problem: Exception) -> None:
        if isinstance(problem, Stopped):
            return
        self._room.look_again()
        with self._lock:
            if isinstance(problem, OSError) and is_full(problem):
                self._tried |= not isinstance(problem, NoRoom)
                self._late.append(item)
            else:
                self._failed.append((item, why(problem)))

    def _copy(self, item: Item) -> Copy | None:
        source = open_result(os.path.join(self._source, item.source), self._inside)
        if source is None:
            with self._lock:
                self._stored.skipped.append(item.source)
            self._outputs.forget(item)
            return None
        try:
            return self._copy_open(source, item)
        finally:
            os.close(source)

    def _copy_open(self, source: int, item: Item) -> Copy:
        """A copy of an open file, to be finished. Raises OSError, Stopped."""
        if not self._room.fits(os.fstat(source).st_size):
            raise NoRoom
        copy = Copy(os.path.join(self._gathered, item.folder), item.name)
        copy.fill(source, self._stop)
        return copy

    def _store_list(self) -> None:
        """Say in a file beside them what the renamed results were called."""
        source = os.memfd_create("renamed")
        try:
            with open(source, "wb", closefd=False) as file:
                file.write(names.listing(self._outputs.renamed))
            item = Item(self._outputs.list_name, "", self._outputs.list_name)
            copy = self._with_room(lambda: self._copy_open(source, item))
            copy.finish()
            self._note_stored(item, copy)
        except (OSError, StageFailed) as problem:
            self._stored.missing.append((self._outputs.list_name, why(problem)))
        finally:
            os.close(source)


def _attempt(work: Callable[[], T]) -> tuple[T | None, OSError | None]:
    try:
        return work(), None
    except OSError as problem:
        return None, problem


def shown(name: str) -> str:
    """A result's name in a message."""
    text = names.quoted(name)
    return text if len(text) <= TOLD_LETTERS else f"{text[:TOLD_LETTERS]}…"


def _listed(found: list[str]) -> str:
    return ", ".join(found[:TOLD]) + (f" and {len(found) - TOLD} more" if len(found) > TOLD else "")


def _clear(folder: str) -> None:
    """An empty folder, whatever was in it."""
    os.makedirs(folder, exist_ok=True)
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
