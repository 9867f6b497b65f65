"""What was removed lies in the trash for some days, or until room is short, and can be restored until then.

Owns for how long, counted in time that really passed. :mod:`server.engine.duties.restoring` restores; the files are
:mod:`server.storage.trash`'s.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from server.engine.duties.sightings import RESTORED, TRASH, forget_sighting, record_sighting, sightings_of
from server.engine.duties.timekeeping import DAY_S, read_elapsed
from server.storage.data import discard, set_aside
from server.storage.folders import Storage
from server.storage.trash import Entry, Trash, TrashRecord

LEAST_FREE = 64_000_000  # bytes that the trash never takes, whatever the settings say
log = structlog.get_logger()


class Trashcan:
    """The trash of one installation. ``days``: for how long something stays in it, 0: there is none.

    ``elapsed``: seconds that controllers have run. Safe to be used from several threads and processes.
    """

    def __init__(self, storage: Storage, days: float, elapsed: Callable[[], float] = read_elapsed) -> None:
        self._storage = storage
        self._keep_s = days * DAY_S
        self._elapsed = elapsed
        self._trash = Trash(storage.root)

    def throw(self, paths: Sequence[Path], description: TrashRecord, also: Path | None = None) -> bool:
        """Move files and folders into the trash; whether that succeeded. ``also``: a file that stays, of which a copy is kept."""
        if not self._keep_s:
            gone = [discard(aside) for path in paths if (aside := set_aside(path))]
            return bool(gone) and all(gone)
        try:
            entry = self._trash.put(paths, description)
            if entry and also:
                self._trash.add(entry, also)
        except OSError as error:
            log.warning("something could not be put into the trash", what=description.name, detail=str(error))
            return False
        if entry:
            record_sighting(TRASH, entry.name, description.at, self._elapsed(), description.bytes)
            forget_sighting(RESTORED, place_of(description))
        return entry is not None

    def relieve(self, floor: float) -> None:
        """Where less than ``floor`` bytes are free, remove the oldest entries until they are. Raises OSError."""
        floor = max(floor, LEAST_FREE)
        free = self._storage.free_bytes()
        for entry in oldest_first(self._trash) if free < floor else ():
            freed = self._trash.size(entry)
            if self._remove(entry):
                log.warning("the storage is short of room: something left the trash early", entry=entry.name, bytes=freed)
                free += freed  # some file systems report it later
            if free >= floor or self._storage.free_bytes() >= floor:
                return

    def expire(self, now: float) -> None:
        """Remove for good what has been there for long enough. ``now``: Unix seconds. Raises OSError."""
        there = self.take_stock(now)
        elapsed, noted = self._elapsed(), sightings_of(TRASH)
        for name, entry in there.items():
            row = noted.get(name)
            if row and elapsed - row.elapsed >= self._keep_s and self._remove(entry):
                log.info("something left the trash for good", entry=name, what=entry.record.name if entry.record else "")

    def take_stock(self, now: float) -> dict[str, Entry]:
        """Record what is there and has no row, as in a rebuilt database; returns it. ``now``: Unix seconds.

        Raises OSError.
        """
        elapsed, noted = self._elapsed(), sightings_of(TRASH)
        there = {entry.name: entry for entry in self._trash.entries()}
        for name in noted.keys() - there.keys():
            forget_sighting(TRASH, name)
        for name, entry in there.items():
            row = noted.get(name)
            if row is None or row.elapsed > elapsed:
                record_sighting(TRASH, name, now, elapsed, entry.record.bytes if entry.record else 0)
        return there

    def listed(self) -> list[tuple[Entry, float]]:
        """What can be restored, with the seconds that it stays while controllers run; the newest first. Raises OSError."""
        noted, elapsed = sightings_of(TRASH), self._elapsed()
        found = [(entry, noted.get(entry.name)) for entry in reversed(oldest_first(self._trash)) if entry.record]
        return [(entry, max(0.0, self._keep_s - (elapsed - row.elapsed if row else 0.0))) for entry, row in found]

    def _remove(self, entry: Entry) -> bool:
        if not discard(entry.path):
            return False
        forget_sighting(TRASH, entry.name)
        return True


def oldest_first(trash: Trash) -> list[Entry]:
    """What is in the trash, by age. What has no row, in a rebuilt database, is the oldest."""
    noted = sightings_of(TRASH)

    def age(entry: Entry) -> tuple[float, float, str]:
        row = noted.get(entry.name)
        return row.elapsed if row else -1.0, entry.record.at if entry.record else 0.0, entry.name

    return sorted(trash.entries(), key=age)


def place_of(description: TrashRecord) -> str:
    """Where it lay, below the storage."""
    return f"{'data' if description.kind == 'data' else 'jobs'}/{description.name}"
