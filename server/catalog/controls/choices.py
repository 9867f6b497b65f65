"""The controls in which a value is chosen: one of several, any of several, yes or no."""

from collections.abc import Iterator
from dataclasses import dataclass

from server.catalog.controls.control import Control, Texts, V, quoted
from server.catalog.rendering.quoting import NOTHING, ShellText
from server.catalog.rendering.variables import Variables


@dataclass(frozen=True)
class Option:
    """One of the values that can be chosen, and what choosing it adds to the command line."""

    value: str
    label: str
    selected: bool
    command: ShellText


@dataclass(frozen=True, kw_only=True)
class _Choice(Control[V]):
    options: tuple[Option, ...]

    def option(self, value: object) -> Option:
        """The option with this value. Raises InvalidInput."""
        for option in self.options:
            if option.value == value:
                return option
        known = ", ".join(option.value or '""' for option in self.options[:20])
        self.refuse(f"is {quoted(value)}, not one of {known}")


@dataclass(frozen=True, kw_only=True)
class Select(_Choice[str]):
    """One of several values."""

    def _check(self, value: object) -> str:
        return self.option(value).value

    def _pieces(self, value: str, texts: Texts) -> Iterator[str]:
        yield self.command.fill(texts)
        yield self.option(value).command.fill(texts)


@dataclass(frozen=True, kw_only=True)
class Checklist(_Choice[tuple[str, ...]]):
    """Any of several values. Its own command is never used; that of each chosen option is."""

    def _check(self, value: object) -> tuple[str, ...] | None:
        # An earlier client sent [value, …] for each.
        items = [item[0] if isinstance(item, list) and item else item for item in self.require_list(value)]
        return tuple(self.option(item).value for item in items) or None

    def _pieces(self, value: tuple[str, ...], texts: Texts) -> Iterator[str]:
        return (self.option(item).command.fill(texts) for item in value)

    def _config(self, value: tuple[str, ...], _variables: Variables) -> object:
        return list(value)


@dataclass(frozen=True, kw_only=True)
class Checkbox(Control[bool]):
    """Yes or no."""

    command_if_unchecked: ShellText = NOTHING

    def _check(self, value: object) -> bool:
        if not isinstance(value, bool):
            self.refuse(f"is {quoted(value)}, not true or false")
        return value

    def _pieces(self, value: bool, texts: Texts) -> Iterator[str]:
        yield (self.command if value else self.command_if_unchecked).fill(texts)

    def decides(self, value: bool) -> str:
        """``true`` or ``false``."""
        return "true" if value else "false"
