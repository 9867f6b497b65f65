"""The group of commands that make something for minutes."""

from typing import Any

import click

from programs.interruption import GIVEN_UP, interruption_means


class LongCommands(click.Group):
    """Commands that make something for minutes: whatever ends one, it takes down what it has at work, and says so."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where it is interrupted, say what that means."""
        with interruption_means(GIVEN_UP):
            return super().invoke(ctx)
