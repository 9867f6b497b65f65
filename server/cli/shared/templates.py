"""The template of this installation, and the group of commands that make something of it for minutes."""

from typing import Any

import click

from programs.interruption import GIVEN_UP, interruption_means
from server.settings import load_settings
from server.workers.clouds import registry
from server.workers.clouds.base import Template


class LongCommands(click.Group):
    """Commands that make something for minutes: whatever ends one, it takes down what it has at work, and says so."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where it is interrupted, say what that means."""
        with interruption_means(GIVEN_UP):
            return super().invoke(ctx)


def known_template() -> Template:
    """The template of the installation that there is. Raises NoInstallation."""
    return registry.known_cloud(load_settings()).template()


def new_template() -> Template:
    """The template, for who makes something of it: an installation may begin so."""
    return registry.make_cloud(load_settings()).template()
