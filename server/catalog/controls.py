"""The controls of a form: what value each accepts, what it adds to the command line, and what to the config file.

Owns the controls of words and choices, and what all controls share; numbers and files have modules of their own. Which
controls count for a job is decided in :mod:`server.catalog.values`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

from server.catalog.rendering.quoting import NOTHING, ShellText
from server.catalog.rendering.variables import Variables
from server.errors import InvalidInput

MAX_VALUE_BYTES = 100_000  # Linux takes 131,071 bytes for one argument
MAX_ITEMS = 10_000
V = TypeVar("V")
Texts = Mapping[str, str]


class WrongValue(InvalidInput):
    """A field's value is not acceptable: the message names the field by its label, ``field`` by its key in the settings."""

    def __init__(self, title: str, reason: str, *, field: str) -> None:
        super().__init__(f"{title} {reason}", field=field)
        self.reason = reason
        self.for_authors = f"{field} {reason}"  # who writes the XML looks for the name


@dataclass(frozen=True, kw_only=True)
class Control(ABC, Generic[V]):
    """One parameter of an app. ``V``: what a value is once it was checked.

    ``defaults``: what the settings have for it where nobody has touched the form, by key.
    """

    name: str
    label: str
    command: ShellText = NOTHING
    in_config: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its keys in the settings."""
        return (self.name,)

    def read(self, settings: Mapping[str, object]) -> V | None:
        """The value that the settings have for it, checked; None if they have none. Raises InvalidInput that names the field."""
        value = settings.get(self.name)
        return None if value is None else self._check(value)

    def pieces(self, value: V, variables: Variables) -> Iterator[str]:
        """What a value adds to the command line, in order."""
        return self._pieces(value, variables.texts)

    def is_configured(self, value: V) -> bool:
        """Whether a value goes into the config file."""
        return self.in_config and not self._is_omitted(value)

    def config(self, value: V, variables: Variables) -> object:
        """The value in the config file, as JSON knows it. Raises InvalidInput where it cannot be there."""
        return self._config(value, variables)

    def decides(self, value: V) -> str:
        """What the branches of a conditional are compared with."""
        return self._decides(value)

    @abstractmethod
    def _check(self, value: object) -> V | None: ...

    @abstractmethod
    def _pieces(self, value: V, texts: Texts) -> Iterator[str]: ...

    def _is_omitted(self, _value: V) -> bool:
        return False

    def _config(self, value: V, _variables: Variables) -> object:
        return value

    def _decides(self, value: V) -> str:
        return str(value)

    @property
    def title(self) -> str:
        """What people know it by: its label on the form, or its name where it has none."""
        return self.label.strip().removesuffix(":") or self.name

    def title_of(self, _key: str) -> str:
        """The same of one of its keys."""
        return self.title

    def refuse(self, reason: str, key: str = "") -> NoReturn:
        """Raise WrongValue for this field, or for one of its keys; ``reason`` goes on with the sentence that its label begins."""
        raise WrongValue(self.title_of(key), reason, field=key or self.name)

    def require_text(self, value: object) -> str:
        """A text that can be an argument. Raises InvalidInput."""
        if not isinstance(value, str):
            self.refuse(f"is {shown(value)}, not a text")
        if problem := unfit(value):
            self.refuse(problem)
        return value

    def require_list(self, value: object) -> Sequence[object]:
        """A list of bearable length. Raises InvalidInput."""
        if not isinstance(value, list):
            self.refuse(f"is {shown(value)}, not a list")
        if len(value) > MAX_ITEMS:
            self.refuse(f"has {len(value)} values, more than {MAX_ITEMS}")
        return value


def shown(value: object) -> str:
    """A value as it is named in a message, shortened."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def unfit(text: str) -> str | None:
    """Why a text cannot be an argument of a program; None if it can."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate)"
    if "\0" in text:
        return "has a NUL byte"
    return f"is longer than {MAX_VALUE_BYTES} bytes" if size > MAX_VALUE_BYTES else None


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
        self.refuse(f"is {shown(value)}, not one of {known}")


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
            self.refuse(f"is {shown(value)}, not true or false")
        return value

    def _pieces(self, value: bool, texts: Texts) -> Iterator[str]:
        yield (self.command if value else self.command_if_unchecked).fill(texts)

    def _decides(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, kw_only=True)
class String(Control[str]):
    """Any text. An empty one is on the command line all the same; ``allow_empty`` False leaves it out of the config file."""

    allow_empty: bool = True

    def _check(self, value: object) -> str:
        return self.require_text(value)

    def _pieces(self, value: str, texts: Texts) -> Iterator[str]:
        yield self.command.fill({**texts, "value": value})

    def _is_omitted(self, value: str) -> bool:
        return not value and not self.allow_empty

    def _config(self, value: str, variables: Variables) -> object:
        return variables.expand(value)


@dataclass(frozen=True, kw_only=True)
class Note(Control[str]):
    """A text in the form; has no value."""

    @property
    def keys(self) -> tuple[str, ...]:
        """None: there is nothing to set."""
        return ()

    def _check(self, _value: object) -> None:
        return None

    def _pieces(self, _value: str, _texts: Texts) -> Iterator[str]:
        return iter(())
