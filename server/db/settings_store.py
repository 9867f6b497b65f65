"""What an installation remembers beside jobs and workers: a few named texts, with who set them and when."""

from server.db.cached_sql import rows
from server.db.models import StoredSetting
from server.db.transitions import Change
from server.db.upsert import replace_row

DRAINED = "drained"


def read_setting(name: str) -> str:
    """The text of a stored setting; "" where it was never set."""
    found = rows(StoredSetting, "name = ?", name)
    return str(found[0].value) if found else ""


def write_setting(name: str, value: str, change: Change) -> None:
    """Store a setting."""
    replace_row(StoredSetting, name=name, value=value, at=change.at, who=change.who)


def drain(reason: str, change: Change) -> None:
    """Start no more jobs; running ones continue."""
    write_setting(DRAINED, reason or "for maintenance", change)


def resume(change: Change) -> None:
    """Start jobs again."""
    write_setting(DRAINED, "", change)


def why_drained() -> str:
    """The reason why no job is started; "" where jobs are started."""
    return read_setting(DRAINED)
