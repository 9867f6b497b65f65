"""The command group of both programs."""

import sqlite3
from collections.abc import Callable
from typing import Any

import click
from peewee import DatabaseError, OperationalError

from programs.border import tell, tell_interrupted
from programs.errors import Expected, explained
from programs.exits import ExitCode
from programs.interruption import Interrupted

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
        except Interrupted as interrupted:  # click would make an Abort of it
            ctx.exit(tell_interrupted(self._program, interrupted))
        except BrokenPipeError as problem:  # not the output's, see interruption.py; click would end without a word
            tell(self._program, explained(problem))
            ctx.exit(ExitCode.FAILED)

    def _translated(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DatabaseError, sqlite3.DatabaseError) as problem:  # rows that are fetched late bypass Peewee
            if type(problem) not in (DatabaseError, OperationalError, sqlite3.DatabaseError, sqlite3.OperationalError):
                raise  # a constraint of the schema is violated: a bug, not the disk
            raise self._unusable(problem) from None
