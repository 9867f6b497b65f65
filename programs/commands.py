"""The group of commands that both programs are."""

import sqlite3
from collections.abc import Callable
from typing import Any

import click
from peewee import DatabaseError, OperationalError

from programs.border import tell
from programs.errors import Expected
from programs.exits import ExitCode

Unusable = Callable[[Exception], Expected]


class Commands(click.Group):
    """A group whose expected failures are one line for a person and an exit code for a program.

    ``program``: its name in messages. ``unusable``: makes an expected failure of what the database said.
    """

    def __init__(self, *args: Any, program: str, unusable: Unusable, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._program = program
        self._unusable = unusable

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected failure ends it with exit code 1."""
        try:
            return self._translated(ctx)
        except Expected as error:
            tell(self._program, error.message)
            ctx.exit(ExitCode.FAILED)
        except BrokenPipeError:  # click would call it a failure
            ctx.exit(ExitCode.READER_GONE)

    def _translated(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DatabaseError, sqlite3.OperationalError) as problem:
            if type(problem) not in (DatabaseError, OperationalError, sqlite3.OperationalError):
                raise  # a rule of the schema is broken: our fault, not the disk's
            raise self._unusable(problem) from None
