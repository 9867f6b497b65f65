"""Trusted shell text with places for untrusted values: the one way from a value to a command line.

Owns how a value is written. Where a value may be is decided when the text is read
(:mod:`server.catalog.rendering.shell_grammar`), and which values are acceptable by the controls.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from server.errors import InvalidInput

THREADS = "nb_threads"
VARIABLES = frozenset({THREADS, "input_dir", "output_dir", "config-file"})


class UnsafeText(ValueError):
    """A shell text in which a value cannot be written safely, or that does not stand for itself; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a value is written, outside of any quotes."""

    name: str


@dataclass(frozen=True)
class ShellText:
    """A text as it was read: pieces of shell, and the places between them.

    ``evaluates_next``: the word that follows it would be read as shell once more.
    """

    parts: tuple[str | Place, ...] = ()
    evaluates_next: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The names of its places."""
        return frozenset(part.name for part in self.parts if isinstance(part, Place))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with a value at each place. Raises InvalidInput where a value cannot be an argument."""
        return "".join(part if isinstance(part, str) else _written(part.name, values[part.name]) for part in self.parts)


NOTHING = ShellText()


def quote(value: str) -> str:
    """A value as one word of a shell command. Raises InvalidInput where it has what no argument can have."""
    if "\0" in value:
        raise InvalidInput("a value has a NUL byte")
    return "'" + value.replace("'", "'\\''") + "'"


def _written(name: str, value: str) -> str:
    # A number of the controller's own: also right where nothing else is, as in arithmetic.
    return value if name == THREADS else quote(value)
