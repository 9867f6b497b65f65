"""What a cleaning remembers from one look to the next: what it saw, and how much time controllers had run by then.

Owns the rows, not what they lead to. In time that really passed, so that no clock that is set makes two looks of one.
"""

from collections.abc import Collection, Iterable

from peewee import chunked, fn

from server.db.models import Sighting
from server.db.transactions import exclusive
from server.db.upsert import replace_row

TRASH, RESTORED = "trash", "restored"
AGED = ("job", "data", "converted", "upload")  # what goes by its age, at the second look
_ROWS_AT_ONCE = 150
Key = tuple[str, str]


def looked_at(seen: Collection[Key], kinds: Iterable[str], now: float, elapsed: float) -> dict[Key, float]:
    """Note what is seen for the first time, forget what is seen no more; since when (``elapsed``) each was seen at each look."""
    wanted = set(seen)
    with exclusive():
        known = {(row.kind, row.name): row for row in Sighting.select().where(Sighting.kind.in_(list(kinds)))}
        for key, row in known.items():
            if key not in wanted or _is_of_another_time(row, now, elapsed):
                Sighting.delete().where(Sighting.kind == row.kind, Sighting.name == row.name).execute()
        since = {key: row.elapsed for key, row in known.items() if key in wanted and not _is_of_another_time(row, now, elapsed)}
        new = [{"kind": kind, "name": name, "at": now, "elapsed": elapsed} for kind, name in sorted(wanted - since.keys())]
        for part in chunked(new, _ROWS_AT_ONCE):
            Sighting.insert_many(part).execute()
    return {**dict.fromkeys(wanted, elapsed), **since}


def note_look(kind: str, name: str, now: float, elapsed: float, size: int = 0) -> None:
    """Note one thing, in place of what was noted of it. ``size``: bytes."""
    replace_row(Sighting, kind=kind, name=name, at=now, elapsed=elapsed, bytes=size)


def looks_of(kind: str) -> dict[str, Sighting]:
    """All that was noted of a kind, by name."""
    return {row.name: row for row in Sighting.select().where(Sighting.kind == kind)}


def noted_bytes(kind: str) -> int:
    """The bytes of all that was noted of a kind."""
    return int(Sighting.select(fn.COALESCE(fn.SUM(Sighting.bytes), 0)).where(Sighting.kind == kind).scalar())


def forget_look(kind: str, name: str) -> None:
    """Know nothing of one thing any more."""
    Sighting.delete().where(Sighting.kind == kind, Sighting.name == name).execute()


def forget_looks(kinds: Iterable[str]) -> None:
    """Know nothing of those kinds any more."""
    Sighting.delete().where(Sighting.kind.in_(list(kinds))).execute()


def _is_of_another_time(row: Sighting, now: float, elapsed: float) -> bool:
    """Whether less time has passed since by the computer's clock, or by the rows, than really did: one of the looks was wrong."""
    return bool(elapsed < row.elapsed or now - row.at < elapsed - row.elapsed - 3600.0)
