"""Trusted shell text with places for untrusted values: the one way from a value to a command line.

Owns where a value may stand and how it is written there. What a value may be is the controls' matter.

The text of an app's author is shell (``sh``). Wherever ``%value%`` or another name stands in it, the value arrives as exactly
its bytes, as (part of) one argument. So each text is read once, as the shell would read it, when the app is loaded: quotes
around a place are closed before it and opened again after it, and the value is written there in single quotes of its own. Where
that cannot be right (within backticks, ``${…}``, arithmetic, comments, here-documents, after a backslash or ``$``, in a text
that is read as shell once more) the app is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from server.catalog.rendering.shell_words import is_read_as_shell
from server.errors import InvalidInput

THREADS = "nb_threads"
VARIABLES = frozenset({THREADS, "input_dir", "output_dir", "config-file"})
_PLACE = re.compile(r"%(value|value2|key|nb_threads|input_dir|output_dir|config-file)%")
_BLANKS = " \t\n"
_SEPARATORS = ";&|()\n"
_READ_TWICE = "in a text that is read as shell once more"


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


def read_shell(text: str, names: frozenset[str] = frozenset()) -> ShellText:
    """Read an author's text in which, beside the variables, ``names`` may stand. Raises UnsafeText."""
    return _Reader(text, names | VARIABLES).read()


def _written(name: str, value: str) -> str:
    # A number of the controller's own: also right where nothing else is, as in arithmetic.
    return value if name == THREADS else quote(value)


class _Reader:
    """Reads one text as the shell does. Each method is entered behind what opens its part and returns behind its end."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._text = text
        self._names = names
        self._at = 0
        self._parts: list[str | Place] = []
        self._plain: list[str] = []
        self._barred = ""
        # How long the plain text was when quotes were opened, or opened again behind a place.
        self._fresh = self._reopened = -1
        self._command_start = 0
        self._word_start = 0

    def read(self) -> ShellText:
        if "\0" in self._text:
            self._refuse("it has a NUL byte")
        self._bare(nested=False)
        self._flush()
        return ShellText(tuple(self._parts), is_read_as_shell(self._text[self._command_start :]))

    def _bare(self, *, nested: bool) -> None:
        """Outside of quotes; ``nested``: within ``$(…)``, up to its end."""
        depth = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            if nested and char == ")" and depth == 0:
                self._take(1)
                return
            depth += {"(": 1, ")": -1}.get(char, 0)
            self._bare_step(char, nested=nested)
        if nested:
            self._refuse("a `$(` has no end")

    def _bare_step(self, char: str, *, nested: bool) -> None:
        if self._place():
            return
        match char:
            case "'":
                self._single()
            case '"':
                self._double()
            case "\\":
                self._escaped()
            case "`":
                self._backticks()
            case "$":
                self._dollar(quoted=False)
            case "#" if self._word_start == self._at:
                self._comment()
            case "<" if self._text.startswith("<<", self._at):
                self._refuse("here-documents (`<<`) are not supported")
            case _:
                self._other(char, nested=nested)

    def _other(self, char: str, *, nested: bool) -> None:
        if nested and self._word_start == self._at and re.match(r"case\s", self._text[self._at :]):
            self._refuse("`case` within `$(…)` is not supported")
        self._take(1)
        if char in _BLANKS or char in _SEPARATORS or char in "<>":
            self._word_start = self._at
        if char in _SEPARATORS:
            self._command_start = self._at

    def _single(self) -> None:
        self._open()
        while self._at < len(self._text):
            if self._text[self._at] == "'":
                self._end_quotes()
                return
            if not self._place("'"):
                self._take(1)
        self._refuse("a single quote is not closed")

    def _double(self) -> None:
        self._open()
        while self._at < len(self._text):
            if self._text[self._at] == '"':
                self._end_quotes()
                return
            self._double_step(self._text[self._at])
        self._refuse("a double quote is not closed")

    def _double_step(self, char: str) -> None:
        if self._place('"'):
            return
        match char:
            case "\\":
                self._escaped()
            case "`":
                self._backticks()
            case "$":
                self._dollar(quoted=True)
            case _:
                self._take(1)

    def _open(self) -> None:
        self._take(1)
        self._fresh, self._reopened = len(self._plain), -1

    def _leave(self, quotes: str) -> None:
        """End the quotes before a place; where they were opened just here, they are not needed at all."""
        if self._fresh == len(self._plain):
            self._plain.pop()
        else:
            self._plain.append(quotes)

    def _reenter(self, quotes: str) -> None:
        self._plain.append(quotes)
        self._fresh = self._reopened = len(self._plain)

    def _end_quotes(self) -> None:
        """The end of quotes; where they were opened again only to end here, neither is needed."""
        if self._reopened == len(self._plain):
            self._plain.pop()
            self._at += 1
        else:
            self._take(1)
        self._fresh = self._reopened = -1

    def _escaped(self) -> None:
        if self._at + 1 >= len(self._text):
            self._refuse("it ends with a backslash")
        if _PLACE.match(self._text, self._at + 1):
            self._refuse("a value stands behind a backslash")
        self._take(2)

    def _backticks(self) -> None:
        self._take(1)
        with_bar = self._bar("within backticks (use `$(…)`)")
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "`":
                self._take(1)
                self._barred = with_bar
                return
            if char == "\\":
                self._escaped()
            elif not self._place():
                self._take(1)
        self._refuse("a backtick is not closed")

    def _dollar(self, *, quoted: bool) -> None:
        following = self._text[self._at + 1 : self._at + 3]
        if _PLACE.match(self._text, self._at + 1):
            self._refuse("a value stands behind a `$`")
        if not quoted and following[:1] in ("'", '"'):
            self._refuse("`$'…'` and `$\"…\"` mean different things in different shells")
        if following == "((":
            self._arithmetic()
        elif following[:1] == "(":
            self._substitution()
        elif following[:1] == "{":
            self._braces(quoted=quoted)
        else:
            # A special parameter such as $# must not be taken for something else.
            self._take(2 if following[:1] in tuple("#?$!@*-") else 1)

    def _substitution(self) -> None:
        with_bar = self._bar(_READ_TWICE) if self._is_read_twice() else self._barred
        self._take(2)
        outer = self._command_start, self._word_start
        self._command_start = self._word_start = self._at
        self._bare(nested=True)
        self._command_start, self._word_start = outer
        self._barred = with_bar

    def _arithmetic(self) -> None:
        self._take(3)
        with_bar = self._bar("within arithmetic")
        depth = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in "'\"\\`" or self._text.startswith("$(", self._at):
                self._refuse("quotes or substitutions within `$((…))` are not supported")
            if depth == 0 and self._text.startswith("))", self._at):
                self._take(2)
                self._barred = with_bar
                return
            depth += {"(": 1, ")": -1}.get(char, 0)
            if not self._place():
                self._take(1)
        self._refuse("a `$((` has no end")

    def _braces(self, *, quoted: bool) -> None:
        self._take(2)
        with_bar = self._bar("within `${…}`")
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "}":
                self._take(1)
                self._barred = with_bar
                return
            if quoted and char in "'\"":
                self._refuse('quotes within `"${…}"` mean different things in different shells')
            self._braces_step(char, quoted=quoted)
        self._refuse("a `${` has no end")

    def _braces_step(self, char: str, *, quoted: bool) -> None:
        match char:
            case "'":
                self._single()
            case '"':
                self._double()
            case "\\":
                self._escaped()
            case "`":
                self._backticks()
            case "$":
                self._dollar(quoted=quoted)
            case _:
                if not self._place():
                    self._take(1)

    def _comment(self) -> None:
        with_bar = self._bar("within a comment")
        while self._at < len(self._text) and self._text[self._at] != "\n":
            if not self._place():
                self._take(1)
        if self._at == len(self._text):
            self._refuse("a comment has no end, so that it would swallow what follows")
        self._barred = with_bar

    def _place(self, quotes: str = "") -> bool:
        """Whether a place begins here; then it is behind us."""
        found = _PLACE.match(self._text, self._at)
        if not found:
            return False
        name = found[1]
        if name not in self._names:
            self._refuse(f"%{name}% means nothing here")
        if name == THREADS:
            self._put(name)
            return True
        self._check_place(name)
        if quotes:
            self._leave(quotes)
        self._put(name)
        if quotes:
            self._reenter(quotes)
        return True

    def _put(self, name: str) -> None:
        self._flush()
        self._parts.append(Place(name))
        self._at += len(f"%{name}%")

    def _check_place(self, name: str) -> None:
        if self._barred:
            self._refuse(f"%{name}% stands {self._barred}, where a value is not safe")
        if self._is_read_twice():
            self._refuse(f"%{name}% stands {_READ_TWICE}; pass it on as an argument of its own")

    def _is_read_twice(self) -> bool:
        return is_read_as_shell(self._text[self._command_start : self._word_start])

    def _bar(self, why: str) -> str:
        before, self._barred = self._barred, self._barred or why
        return before

    def _take(self, length: int) -> None:
        self._plain.append(self._text[self._at : self._at + length])
        self._at += length

    def _flush(self) -> None:
        if self._plain:
            self._parts.append("".join(self._plain))
            self._plain.clear()
        self._fresh = self._reopened = -1

    def _refuse(self, reason: str) -> NoReturn:
        raise UnsafeText(f"{reason} (at character {self._at + 1} of {self._text[:80]!r})")
