"""What the commands share: the rows opened for reading, a table on a terminal, seconds as people read them."""

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, BinaryIO

import click
from rich.table import Table

from programs.border import tell
from programs.errors import explained
from server.catalog.settings_text import MAX_SETTINGS_BYTES, parse_settings
from server.cli.shared.terminal import plain_console, print_table, progress_on
from server.db.cached_sql import rows as rows_of
from server.db.dialects.sqlite_database import Database
from server.db.models import Event, Job
from server.db.opening import open_to_change, open_to_read, require_installation
from server.db.queries import known_job
from server.errors import InvalidInput, NotFound, no_job
from server.home.installation import known_id
from server.progress import Progress, Step
from server.settings import Settings, load_settings, where_given
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud

PATIENCE_S = 3.0  # nobody wonders earlier what a command is at


class _JobNumber(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """The number of a job, as one types it."""

    name = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; a usage error for anything that no job can have."""
        if not re.fullmatch(r"[0-9]{1,15}", str(value)):
            self.fail(f"{printable(str(value))[:40]} is not a job's number", param, ctx)
        return int(value)


class _Text(click.ParamType):  # type: ignore[type-arg]
    """Text, which the system need not give: an argument may be any bytes."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; a usage error for what is not UTF-8."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("this is not text in the terminal's encoding", param, ctx)
        return str(value)


class _Number(click.FloatRange):
    """A number that is one: not nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error for one outside of the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


JOB, TEXT, FORM = _JobNumber(), _Text(), click.File("rb")


def number_between(least: float, most: float) -> click.FloatRange:
    """An option's number, both ends included."""
    return _Number(least, most)


def read_form(file: BinaryIO) -> dict[str, Any]:
    """A form's settings from a JSON file (UTF-8, also with a byte order mark, or UTF-16). Raises InvalidInput with the line."""
    name = getattr(file, "name", "")
    where = name if isinstance(name, str) and name != "<stdin>" else "standard input"
    try:
        content = file.read(2 * MAX_SETTINGS_BYTES)
        text = content.decode(json.detect_encoding(content))
        json.loads(text)
    except OSError as error:
        raise InvalidInput(f"the settings cannot be read: {explained(error)}", field="settings") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{where}: this is not text in UTF-8, as JSON is", field="settings") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{where}, line {error.lineno}: this is not JSON: {error.msg}", field="settings") from None
    except ValueError as error:  # a number with thousands of digits
        raise InvalidInput(f"{where}: {error}", field="settings") from None
    except RecursionError:
        raise InvalidInput(f"{where}: lists or objects are within each other too deeply", field="settings") from None
    try:
        return parse_settings(text)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.message}", field=error.field) from None


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
    if context := click.get_current_context(silent=True):
        context.find_root().call_on_close(database.close)


def own_installation() -> Settings:
    """Settings of an installation that there is. Raises NoInstallation."""
    settings = load_settings()
    require_installation(settings)
    return settings


def cloud_to_look_at(settings: Settings) -> Cloud:
    """The cloud for a command that does without an installation; where there is none, a line says so."""
    if not known_id(settings.home):
        text = f"there is no installation in {settings.home} ({where_given('home')}): what its machines have is not known"
        tell("cumulus", text)
    return registry.cloud_to_look_at(settings)


def find_job(job_id: int) -> Job:
    """A job's row. Raises NotFound where there is none; of a deleted one it says who deleted it."""
    job = known_job(job_id)
    if job is None:
        deleted = rows_of(Event, "subject = 'job' AND subject_id = ? AND new = 'deleted'", job_id)
        text = f"; {deleted[0].who} deleted it on {local_time(deleted[0].at)}" if deleted else "; `cumulus jobs` lists them"
        raise NotFound(f"{no_job(job_id)}{text}", field="job_id")
    return job


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: as wide as the terminal, or as wide as it is for a file or a pipe. Cells are text, whatever is in them.

    No word is broken, so that a path or a command can be copied: where the words need more room the terminal breaks the lines.
    """
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in row))
    print_table(table, plain_console(sys.stdout), wrap=sys.stdout.isatty())


def printable(text: str) -> str:
    """Text of somebody else as any terminal takes it, on one line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def progress_on_stderr(patience_s: float = 0.0) -> Progress:
    """Where a command tells how far it is: standard error, so that what it prints can go into a file.

    ``patience_s``: no word of steps that end within so many seconds.
    """
    return progress_on(sys.stderr, patience_s=patience_s)


def asking_the_cloud() -> AbstractContextManager[Step]:
    """Around what waits for the cloud's answers: most come at once, and some take a minute."""
    return progress_on_stderr(PATIENCE_S).step("Asking the cloud")


def local_time(at: float) -> str:
    """Unix seconds as a date and a time of day here."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
