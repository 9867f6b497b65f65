"""All that a database says, to see that a request has changed nothing."""

from typing import Any

from server.db.models import Job

VOLATILE = {"audit", "sqlite_stat1", "sqlite_sequence"}  # what was refused is recorded
WHEN_USED = {"last_used", "last_seen"}


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each table but the audit's, without when something was used last."""
    database = Job._meta.database
    found = {}
    for (table,) in database.execute_sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        if table in VOLATILE:
            continue
        cursor = database.execute_sql(f'SELECT * FROM "{table}"')
        shown = [index for index, column in enumerate(cursor.description) if column[0] not in WHEN_USED]
        found[table] = sorted((tuple(row[index] for index in shown) for row in cursor.fetchall()), key=repr)
    return found
