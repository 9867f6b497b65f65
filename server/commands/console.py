"""What the commands share: the rows opened for reading, a table on a terminal, seconds as people read them."""

import sys
from datetime import datetime

from rich.console import Console
from rich.table import Table

from server.models import open_database
from server.settings import Settings, load_settings

WIDE = 1000


def open_rows() -> Settings:
    """Settings, with the database open."""
    settings = load_settings()
    open_database(settings.database)
    return settings


def show_table(table: Table) -> None:
    """Print a table: as wide as the terminal, or as wide as it is for a file or a pipe."""
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def local_time(at: float) -> str:
    """Unix seconds as a date and a time of day here."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
