"""The command group of both programs."""

import sys
from collections.abc import Callable
from typing import Any

import click

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
        except _database_errors() as problem:
            if type(problem).__name__ not in ("DatabaseError", "OperationalError"):
                raise  # a constraint of the schema is violated: a bug, not the disk
            raise self._unusable(problem) from None


def _database_errors() -> tuple[type[Exception], ...]:
    """Peewee's, and SQLite's own, since rows that are fetched late bypass Peewee; none of a library that is not loaded."""
    loaded = (sys.modules.get(name) for name in ("peewee", "sqlite3"))
    return tuple(module.DatabaseError for module in loaded if module is not None)
