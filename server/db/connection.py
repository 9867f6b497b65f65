"""How whoever runs the installation opens the database: made where there is none, and brought to the newest schema.

Commands open it with :mod:`server.db.opening`, which makes and upgrades nothing.
"""

import time
from pathlib import Path

from peewee import DatabaseError, OperationalError, SqliteDatabase

from programs.database.sqlite import is_known
from programs.errors import explained
from programs.regular import is_regular
from server.db import migrations
from server.db.account_models import TABLES
from server.db.dialects.sqlite import BUSY_TIMEOUT_S, CONTROLLER_PRAGMAS
from server.db.dialects.sqlite_database import Database
from server.db.errors import DatabaseUnusable, unusable

OPENING_PAUSE_S = 0.02


def open_database(path: Path) -> Database:
    """Open (or make) the database at the newest schema, and bind the tables to it. Raises DatabaseDamaged, DatabaseUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DatabaseUnusable(f"there can be no database {path}: {explained(problem)}") from None
    require_file(path)
    # Also for the pragmas themselves: several processes may open a new database at once.
    database = Database(str(path), CONTROLLER_PRAGMAS, BUSY_TIMEOUT_S)
    try:
        _upgrade(database)
    except DatabaseError as problem:
        raise (unusable(problem, path) if is_known(problem) else problem) from None
    database.bind(TABLES)
    return database


def require_file(path: Path) -> bool:
    """Whether there is a file; raises DatabaseUnusable where something else has its name, which the database might wait for."""
    try:
        return is_regular(path, follow=True)
    except OSError as problem:
        raise DatabaseUnusable(
            f"the database cannot be used: {explained(problem)}; move it away, or set another database"
        ) from None


def _upgrade(database: SqliteDatabase) -> None:
    """Bring the schema up to date. Where two processes make a database at once, SQLite refuses one of them without waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            migrations.upgrade(database)
        except OperationalError as problem:
            database.close()
            if "locked" not in str(problem) or time.monotonic() > deadline:
                raise
            time.sleep(OPENING_PAUSE_S)
        else:
            return
