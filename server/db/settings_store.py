"""What an installation remembers beside jobs and machines: a few named texts, with who set them and when."""

from server.db.cached_sql import rows
from server.db.models import Change, StoredSetting

DRAINED = "drained"


def read_switch(name: str) -> str:
    """The text of a switch; "" where it was never set."""
    found = rows(StoredSetting, "name = ?", name)
    return str(found[0].value) if found else ""


def write_switch(name: str, value: str, change: Change) -> None:
    """Set a switch."""
    StoredSetting.insert(name=name, value=value, at=change.at, who=change.who).on_conflict_replace().execute()


def drain(reason: str, change: Change) -> None:
    """Begin no more jobs; those at work go on."""
    write_switch(DRAINED, reason or "for maintenance", change)


def resume(change: Change) -> None:
    """Begin jobs again."""
    write_switch(DRAINED, "", change)


def why_drained() -> str:
    """The reason why no job is begun; "" where that is not so."""
    return read_switch(DRAINED)
