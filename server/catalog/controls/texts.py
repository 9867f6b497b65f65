"""The controls of words: any text, and a note, which has no value."""

from collections.abc import Iterator
from dataclasses import dataclass

from server.catalog.controls.control import Control, Texts
from server.catalog.rendering.variables import Variables


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
