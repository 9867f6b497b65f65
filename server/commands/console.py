"""What the commands share: the rows opened for reading, a table on a terminal, seconds as people read them."""

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.table import Table

from programs.errors import explained
from server.errors import InvalidInput, NotFound
from server.jobs.submission import MAX_SETTINGS_BYTES, parse_settings
from server.models import open_database
from server.settings import Settings, load_settings

WIDE = 1000


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


def no_job(job_id: int) -> NotFound:
    """What to say of a number that no job has."""
    return NotFound(f"there is no job {job_id}; `cumulus jobs` lists them", field="job_id")


def open_rows() -> Settings:
    """Settings, with the database open."""
    settings = load_settings()
    open_database(settings.database)
    return settings


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: as wide as the terminal, or as wide as it is for a file or a pipe. Cells are text, whatever is in them."""
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in row))
    Console(width=None if sys.stdout.isatty() else WIDE, markup=False, emoji=False).print(table)


def printable(text: str) -> str:
    """Text of somebody else as any terminal takes it, on one line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def local_time(at: float) -> str:
    """Unix seconds as a date and a time of day here."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
