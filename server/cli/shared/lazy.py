"""A group of commands that are imported when they are called: asking for the version or the help loads none of them."""

import importlib
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from programs.commands import Commands
from programs.errors import Expected


@dataclass(frozen=True)
class Command:
    """Where a command is, as ``module:attribute``, and what the list of commands says of it."""

    target: str
    help: str

    def load(self) -> click.Command:
        """The command, imported now."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is not a command")
        return command


Sections = Mapping[str, Mapping[str, Command]]


class _Loading(MutableMapping[str, click.Command]):
    """Commands by name, as click keeps them; one that is asked for is imported."""

    def __init__(self, known: Mapping[str, Command]) -> None:
        self._known = known
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            self._loaded[name] = self._known[name].load()
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._loaded})

    def __len__(self) -> int:
        return len({**self._known, **self._loaded})


class LazyCommands(Commands):
    """The program's commands in sections: title -> name -> where the command is."""

    def __init__(self, *args: Any, sections: Sections, **attributes: Any) -> None:
        known = {name: command for section in sections.values() for name, command in section.items()}
        super().__init__(*args, commands=_Loading(known), **attributes)
        self._sections = sections

    def _translated(self, ctx: click.Context) -> Any:
        """A refusal of the API is an expected failure. Its errors are known only once it was used."""
        try:
            return super()._translated(ctx)
        except Exception as problem:
            errors = sys.modules.get("cumulus_client.errors")
            if errors is not None and isinstance(problem, errors.ApiError):
                raise Expected(problem.message) from None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell offers after the program's name: commands from the table alone, options as click knows them."""
        named = ((name, command.help) for section in self._sections.values() for name, command in section.items())
        found = [CompletionItem(name, help=text) for name, text in named if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as click calls it
        """The list of commands, from the table alone."""
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, command.help) for name, command in section.items()])
