"""How commands open the database: the installation's own, as it is. Makes nothing and upgrades nothing."""

import sqlite3
from pathlib import Path

from peewee import DatabaseError

from programs.database.sqlite import is_known, reading_mode
from server.db import migrations
from server.db.account_models import TABLES
from server.db.connection import require_file
from server.db.dialects.own_log import require_own_log
from server.db.dialects.sqlite import BUSY_TIMEOUT_S, CHANGING_PRAGMAS, READING_PRAGMAS
from server.db.dialects.sqlite_database import Database
from server.db.errors import DatabaseDamaged, unusable
from server.db.models import StoredSetting
from server.errors import CumulusError
from server.home.folder import ID_FILE, HomeUnusable
from server.home.installation import known_id
from server.home.running import running_controller
from server.settings import Settings, where_given

OUR_TABLES = frozenset(table._meta.table_name for table in TABLES)
OWNER = "installation"  # the stored setting that says whose database it is


class NoInstallation(CumulusError):
    """No controller has run with this home folder yet, or the setting names a wrong folder."""

    code = "no_installation"


class DatabaseMissing(CumulusError):
    """There is an installation, and no database."""

    code = "database_missing"


class DatabaseTooOld(CumulusError):
    """A controller has to bring the database up to date first."""

    code = "database_too_old"


class ForeignDatabase(CumulusError):
    """The database is another installation's, or another program's."""

    code = "database_foreign"


def require_installation(settings: Settings) -> str:
    """The installation's id. Raises NoInstallation, HomeUnusable."""
    home = settings.home
    if home.exists() and not home.is_dir():
        raise HomeUnusable(f"the home folder {home} cannot be used: it is no folder ({where_given('home')} sets another one)")
    if found := known_id(home):
        return found
    if settings.database.exists():
        text = f"the installation in {home} has lost its id: restore {home / ID_FILE}, or `cumulus serve` says what to do"
        raise NoInstallation(text, field="setting home")
    where = where_given("home")
    text = f"there is no installation in {home} ({where}): set the right folder, or have `cumulus serve` make one there"
    raise NoInstallation(text, field="setting home")


def open_to_read(settings: Settings) -> Database:
    """The installation's database for a command that only reads; nothing is written to it, and nothing made.

    Raises NoInstallation, DatabaseMissing, DatabaseTooOld, DatabaseTooNew, ForeignDatabase, DatabaseDamaged, DatabaseUnusable.
    """
    server_id = _require(settings)
    try:
        mode, options = reading_mode(settings.database)
    except sqlite3.DatabaseError as problem:
        raise unusable(problem, settings.database) from None
    return _opened(settings, server_id, READING_PRAGMAS, mode, options)


def open_to_change(settings: Settings) -> Database:
    """The same for a command that changes rows. Raises the same."""
    server_id = _require(settings)
    return _opened(settings, server_id, CHANGING_PRAGMAS, "rw", "")


def foreign(settings: Settings, owner: str) -> ForeignDatabase:
    """What to do about a database of another installation."""
    return ForeignDatabase(
        f"the database {settings.database} is of another installation ({owner}): set the right database"
        f" ({where_given('database')}), or move it away and `cumulus serve` makes one from the job folders",
        field="setting database",
    )


def _require(settings: Settings) -> str:
    """The installation's id. Raises NoInstallation, DatabaseMissing, DatabaseDamaged, DatabaseUnusable."""
    server_id = require_installation(settings)
    if not require_file(settings.database):
        text = f"there is no database {settings.database} ({where_given('database')}): "
        if running_controller(settings.home):
            text += (
                "it was removed while the controller runs; `cumulus stop` and `cumulus serve` make it anew from the job folders"
            )
        else:
            text += "`cumulus serve` makes one, where there are job folders from them"
        raise DatabaseMissing(text, field="setting database")
    require_own_log(settings.database)
    return server_id


def _opened(settings: Settings, server_id: str, pragmas: dict[str, object], mode: str, options: str) -> Database:
    path = settings.database
    database = Database(str(path), pragmas, BUSY_TIMEOUT_S, mode=mode, options=options)
    try:
        _require_schema(database, path)
        database.bind(TABLES)
        owner = StoredSetting.get_or_none(StoredSetting.name == OWNER)
    except DatabaseError as problem:
        database.close()
        raise (unusable(problem, path) if is_known(problem) else problem) from None
    if owner is not None and owner.value != server_id:
        database.close()
        raise foreign(settings, owner.value)
    return database


def _require_schema(database: Database, path: Path) -> None:
    """Raises DatabaseDamaged, DatabaseTooOld, DatabaseTooNew."""
    tables = set(database.get_tables())
    version = migrations.version(database) if "migration" in tables else 0
    if version > len(migrations.STEPS):
        raise migrations.too_new(version)
    if not version or (version == len(migrations.STEPS) and not tables >= OUR_TABLES):
        what = "another program's" if tables else "empty"
        raise DatabaseDamaged(f"the database {path} is {what}: `cumulus serve` makes it anew, or says what to do")
    if version < len(migrations.STEPS):
        text = f"the database {path} has schema {version}, this version of Cumulus needs {len(migrations.STEPS)}"
        raise DatabaseTooOld(f"{text}: restart the controller, which brings it up to date (`cumulus stop`, `cumulus serve`)")
