"""The installation that a command works on: its settings, with its database open for as long as the command runs."""

import os
from collections.abc import Callable

import click

from programs.errors import login
from server.db.dialects.sqlite_database import Database
from server.db.opening import open_to_change, open_to_read, require_installation
from server.services.principal import Principal
from server.settings import Settings, load_settings


def open_rows() -> Settings:
    """Settings, with the installation's database open for reading; makes nothing. Raises NoInstallation, DatabaseMissing."""
    settings = load_settings()
    until_the_end(open_to_read(settings))
    return settings


def open_rows_to_change() -> Settings:
    """The same for a command that changes rows."""
    settings = load_settings()
    until_the_end(open_to_change(settings))
    return settings


def until_the_end(database: Database) -> None:
    """Close the database with the command: SQLite takes its log away then."""
    at_the_end(database.close)


def at_the_end(act: Callable[[], object]) -> None:
    """Do something when the command ends, however it does."""
    if context := click.get_current_context(silent=True):
        context.find_root().call_on_close(act)


def own_installation() -> Settings:
    """Settings of an installation that there is. Raises NoInstallation."""
    settings = load_settings()
    require_installation(settings)
    return settings


def administrator() -> Principal:
    """Who runs the command: an administrator where that is somebody who can read the installation's home, or make it."""
    home = load_settings().home
    may = os.access(home, os.R_OK | os.X_OK) or not home.exists()
    return Principal.local_admin(login()) if may else Principal.local_user(login())
