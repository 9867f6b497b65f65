"""What an app has left in its output folder, and what each of it is called in the storage.

Makes the folders there on the way; the files are copied by whoever walks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from cumulus_runner import names
from cumulus_runner.copying import make_folder, why


@dataclass(frozen=True)
class Item:
    """One file: its path in the app's output, the folder that it goes to in the storage's, and its name there."""

    source: str
    folder: str
    name: str

    @property
    def target(self) -> str:
        """Its path in the storage's output."""
        return os.path.join(self.folder, self.name)


class Taken:
    """An iterator that several threads take from. ``broken``: the exception at which it ended."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self.broken: Exception | None = None

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._lock:
            try:
                return next(self._items)
            except StopIteration:
                raise
            except Exception as problem:  # noqa: BLE001 - passed on to who waits for the end
                self.broken = problem
                raise StopIteration from None


class Outputs:
    """The app's output folder ``source``, whose folders are made below ``target``.

    ``with_room`` does what it is given when there is room in the storage. ``renamed``: new paths and the old ones; ``missing``:
    folders that are not there, and why; ``folders``: those that are.
    """

    def __init__(self, source: str, target: str, with_room: Callable[[Callable[[], str]], str]) -> None:
        self._source = source
        self._target = target
        self._with_room = with_room
        self._lock = threading.Lock()
        self.renamed: dict[str, str] = {}
        self.missing: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.list_name = names.LIST

    def forget(self, item: Item) -> None:
        """It is none of the results."""
        with self._lock:
            self.renamed.pop(item.target, None)

    def items(self) -> Iterator[Item]:
        """All files of the app's output; their folders are made on the way."""
        folders = [("", "")]
        while folders:
            source, target = folders.pop()
            try:
                entries = self._entries(source)
                target = self._make_folder(source, target)
            except OSError as problem:
                self.missing.append((f"{source}/" if source else "the output folder", why(problem)))
                continue
            inner = []
            for (name, is_folder), kept in zip(entries, self._kept_names(source, target, [name for name, _ in entries])):
                if is_folder:
                    inner.append((os.path.join(source, name), os.path.join(target, kept)))
                else:
                    yield Item(os.path.join(source, name), target, kept)
            folders += reversed(inner)

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """The names in a folder, and whether each is a folder."""
        with os.scandir(os.path.join(self._source, folder)) as found:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)

    def _kept_names(self, source: str, target: str, found: list[str]) -> Iterator[str]:
        """What each is called in the storage; the list of those whose name changes gets a name that none has."""
        taken = set(found)
        if not source:
            self.list_name = names.free(self.list_name, taken)
            taken.add(self.list_name)
        for name in found:
            kept = name if names.is_plain(name) else names.plain(name, taken)
            if kept != name:
                taken.add(kept)
                self.note_renamed(os.path.join(target, kept), os.path.join(source, name))
            yield kept

    def note_renamed(self, new: str, old: str) -> None:
        """Both are paths of a file or folder."""
        with self._lock:
            self.renamed[new] = old

    def _make_folder(self, source: str, folder: str) -> str:
        """Make a folder in the storage; returns its path there, under another name where need be. Raises OSError, Stopped."""
        if folder:
            above, name = os.path.split(folder)
            kept = self._with_room(lambda: make_folder(os.path.join(self._target, above), name))
            folder = os.path.join(above, kept)
            if kept != name:
                self.note_renamed(folder, source)
        self.folders.append(folder)
        return folder
