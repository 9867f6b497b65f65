"""What an inspection of the storage remembers for the next one: what it saw, and for how long controllers had run by then.

Owns the rows, not what follows from them. In time that really passed, so that no clock that is set makes two inspections of one.
"""

from collections.abc import Collection

from peewee import chunked, fn

from server.db.models import Sighting
from server.db.transactions import exclusive

TRASH, RESTORED = "trash", "restored"
AGED = ("job", "data", "converted", "upload")  # what is removed by its age, at the second sighting
_ROWS_AT_ONCE = 150
Key = tuple[str, str]


def update_sightings(seen: Collection[Key], now: float, elapsed: float) -> dict[Key, float]:
    """Record what is seen for the first time, forget what is gone; returns since when (``elapsed``) each was always seen.

    Of what is removed by its age.
    """
    wanted = set(seen)
    with exclusive():
        known = {(row.kind, row.name): row for row in Sighting.select().where(Sighting.kind.in_(AGED))}
        for key, row in known.items():
            if key not in wanted or _is_of_another_time(row, now, elapsed):
                Sighting.delete().where(Sighting.kind == row.kind, Sighting.name == row.name).execute()
        since = {key: row.elapsed for key, row in known.items() if key in wanted and not _is_of_another_time(row, now, elapsed)}
        new = [{"kind": kind, "name": name, "at": now, "elapsed": elapsed} for kind, name in sorted(wanted - since.keys())]
        for part in chunked(new, _ROWS_AT_ONCE):
            Sighting.insert_many(part).execute()
    return {**dict.fromkeys(wanted, elapsed), **since}


def record_sighting(kind: str, name: str, now: float, elapsed: float, size: int = 0) -> None:
    """Record one thing, in place of its former sighting. ``size``: bytes."""
    Sighting.insert(kind=kind, name=name, at=now, elapsed=elapsed, bytes=size).on_conflict_replace().execute()


def sightings_of(kind: str) -> dict[str, Sighting]:
    """All sightings of a kind, by name."""
    return {row.name: row for row in Sighting.select().where(Sighting.kind == kind)}


def trash_bytes() -> int:
    """The bytes of all that is in the trash."""
    return int(Sighting.select(fn.COALESCE(fn.SUM(Sighting.bytes), 0)).where(Sighting.kind == TRASH).scalar())


def forget_sighting(kind: str, name: str) -> None:
    """Forget one thing."""
    Sighting.delete().where(Sighting.kind == kind, Sighting.name == name).execute()


def forget_aged() -> None:
    """Forget all that is removed by its age."""
    Sighting.delete().where(Sighting.kind.in_(AGED)).execute()


def _is_of_another_time(row: Sighting, now: float, elapsed: float) -> bool:
    """Whether less time has passed since by the computer's clock, or by the rows, than really did: one sighting was wrong."""
    return bool(elapsed < row.elapsed or now - row.at < elapsed - row.elapsed - 3600.0)
