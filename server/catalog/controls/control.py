"""What all controls of a form share: they check a value, add to the command line, and add to the config file.

Which controls count for a job is decided in :mod:`server.catalog.values`.
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


class FormError(InvalidInput):
    """Something about a form is not acceptable: ``field`` is a key of the settings, as the app's author has called it."""


class WrongValue(FormError):
    """A field's value is not acceptable: the message names the field by its label, ``field`` by its key in the settings."""

    def __init__(self, title: str, reason: str, *, field: str) -> None:
        super().__init__(f"{title} {reason}", field=field)
        self.reason = reason
        self.for_authors = f"{field} {reason}"  # an author of XML knows the name


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
        """Whether a value is written into the config file."""
        return self.in_config and not self._is_omitted(value)

    def config(self, value: V, variables: Variables) -> object:
        """The value in the config file, as JSON knows it. Raises InvalidInput where it cannot be there."""
        return self._config(value, variables)

    def decides(self, value: V) -> str:
        """What the branches of a conditional are compared with."""
        return str(value)

    @abstractmethod
    def _check(self, value: object) -> V | None: ...

    @abstractmethod
    def _pieces(self, value: V, texts: Texts) -> Iterator[str]: ...

    def _is_omitted(self, _value: V) -> bool:
        return False

    def _config(self, value: V, _variables: Variables) -> object:
        return value

    @property
    def title(self) -> str:
        """What people know it by: its label on the form, or its name where it has none."""
        return self.label.strip().removesuffix(":") or self.name

    def title_of(self, _key: str) -> str:
        """The same of one of its keys."""
        return self.title

    def refuse(self, reason: str, key: str = "") -> NoReturn:
        """Raise WrongValue for this field, or for one of its keys; ``reason`` continues the sentence that its label begins."""
        raise WrongValue(self.title_of(key), reason, field=key or self.name)

    def require_text(self, value: object) -> str:
        """A text that can be an argument. Raises InvalidInput."""
        if not isinstance(value, str):
            self.refuse(f"is {quoted(value)}, not a text")
        if problem := unfit(value):
            self.refuse(problem)
        return value

    def require_list(self, value: object) -> Sequence[object]:
        """A list of bearable length. Raises InvalidInput."""
        if not isinstance(value, list):
            self.refuse(f"is {quoted(value)}, not a list")
        if len(value) > MAX_ITEMS:
            self.refuse(f"has {len(value)} values, more than {MAX_ITEMS}")
        return value


def quoted(value: object) -> str:
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
