"""What commands take: a job's number, text, a number within a range, a form's file."""

import math
import re
from typing import Any

import click

from programs.errors import Expected
from server.cli.shared.output import printable


class NotConfirmed(Expected):
    """Nobody has said yes."""

    code = "not_confirmed"


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


as_json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")
