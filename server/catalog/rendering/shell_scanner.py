"""A position in a shell text: what comes next, which command and word it is in, and whether a place is safe there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from server.catalog.rendering.quoting import THREADS, UnsafeText
from server.catalog.rendering.shell_pieces import Pieces
from server.catalog.rendering.shell_words import is_read_as_shell

READ_TWICE = "in a text that is read as shell once more"
_PLACE = re.compile(r"%(value|value2|key|nb_threads|input_dir|output_dir|config-file)%")


class Scanner:
    """Reads one text from its beginning to its end; ``names``: the places that may be in it."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self.text = text
        self.at = self.command_start = self.word_start = 0
        self.pieces = Pieces()
        self._names = names
        self._barred = ""

    def rest(self) -> Iterator[str]:
        """The character at the position, again and again until the end. Whoever takes one moves the position."""
        while self.at < len(self.text):
            yield self.text[self.at]

    def sees(self, text: str) -> bool:
        """Whether this text is next."""
        return self.text.startswith(text, self.at)

    def sees_place(self, offset: int = 0) -> bool:
        """Whether a place begins so many characters on."""
        return bool(_PLACE.match(self.text, self.at + offset))

    def take(self, length: int = 1) -> None:
        """Take so many characters as they are."""
        self.pieces.add(self._next(length))

    def open_quotes(self) -> None:
        """Take the character that opens quotes."""
        self.pieces.open_quotes(self._next(1))

    def close_quotes(self) -> None:
        """Take the character that closes them."""
        self.pieces.close_quotes(self._next(1))

    def take_place(self, quotes: str = "") -> bool:
        """Take the place that begins here, if there is one; whether there was. Raises UnsafeText where it may not be here."""
        found = _PLACE.match(self.text, self.at)
        if not found:
            return False
        name = found[1]
        if name not in self._names:
            self.refuse(f"%{name}% means nothing here")
        if name == THREADS:
            self.pieces.add_place(name)
        else:
            self._require_safe(name)
            self.pieces.add_place(name, quotes)
        self._next(len(found[0]))
        return True

    @contextmanager
    def barred(self, why: str) -> Iterator[None]:
        """Within the block no value is safe, for the outermost reason."""
        before, self._barred = self._barred, self._barred or why
        yield
        self._barred = before

    def is_read_twice(self) -> bool:
        """Whether the word at the position is read as shell once more by its command."""
        return is_read_as_shell(self.text[self.command_start : self.word_start])

    def refuse(self, reason: str) -> NoReturn:
        """Raise UnsafeText at the position."""
        raise UnsafeText(f"{reason} (at character {self.at + 1} of {self.text[:80]!r})")

    def _require_safe(self, name: str) -> None:
        if self._barred:
            self.refuse(f"%{name}% stands {self._barred}, where a value is not safe")
        if self.is_read_twice():
            self.refuse(f"%{name}% stands {READ_TWICE}; pass it on as an argument of its own")

    def _next(self, length: int) -> str:
        taken = self.text[self.at : self.at + length]
        self.at += length
        return taken
