"""Regular expressions from app XML that are matched with what users type: bounded, so that no text can keep the controller busy.

Python's matcher backtracks. So a pattern may repeat only single characters and classes, and few times; the number of its
repetitions limits the text that it is matched with. A pattern for what a program prints may be freer, since the machine of that
job searches with a time limit; only hopeless ones are refused.
"""

import re
from re import _parser as parser  # type: ignore[attr-defined]  # nothing else in Python shows what a pattern is made of
from typing import Any

from server.errors import InvalidInput

MAX_PATTERN = 200
MAX_OPTIONAL = 10
MAX_SEARCH = 2000
ENDLESS = 30  # times: two to this power of ways are as good as infinitely many
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
# Longest text by the number of repetitions: some million steps at worst.
MAX_TEXT = (100_000, 2_000, 250, 100)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_QUANTIFIER = re.compile(r"(\*|\+|\{[0-9]*,?[0-9]*\})[?+]?")


class UnboundedPattern(ValueError):
    """A pattern that is no regular expression, or one that some text would keep busy; the message says why."""


class Pattern:
    """A bounded regular expression, found anywhere in a text."""

    def __init__(self, source: str) -> None:
        """Raises UnboundedPattern."""
        repetitions = _count_repetitions(source)
        try:
            self._compiled = re.compile(source)
        except (re.error, RecursionError, OverflowError) as error:
            raise UnboundedPattern(f"{source!r} is not a regular expression: {error}") from None
        self.source = source
        self._limit = MAX_TEXT[repetitions]

    def found_in(self, text: str) -> bool:
        """Whether some part of the text matches. Raises InvalidInput for a text that is too long for this pattern."""
        if len(text) > self._limit:
            raise InvalidInput(f"longer than the {self._limit} characters that can be compared with {self.source!r}")
        return self._compiled.search(text) is not None


def read_search(source: str, name: str) -> "re.Pattern[str]":
    """A regular expression that is searched in what a program prints; ``name``: whose it is, for messages.

    Raises UnboundedPattern for none, and for one that repeats what repeats itself, as ``(a+)+`` does: some short text would keep
    it busy for years.
    """
    if len(source) > MAX_SEARCH:
        raise UnboundedPattern(f"{name} has more than {MAX_SEARCH} characters")
    try:
        compiled = re.compile(source)
        if _is_hopeless(parser.parse(source)):
            raise UnboundedPattern(f"{name} repeats a group that is itself a repetition, which may take for ever: {source!r}")
    except (re.error, RecursionError, OverflowError) as error:
        raise UnboundedPattern(f"{name} is not a regular expression: {error}") from None
    return compiled


def _is_hopeless(items: Any) -> bool:
    """Whether some repetition in a parsed pattern can take one text apart in very many ways."""
    return any(
        (_is_endless(item) and _repeats_alone(item[1][2])) or any(_is_hopeless(part) for part in _parts(item)) for item in items
    )


def _repeats_alone(items: Any) -> bool:
    """Whether these items can consist of one endless repetition and nothing else."""
    needed = [item for item in items if not _may_be_empty(item)]
    if len(needed) > 1:
        return False
    return any(_is_endless(item) or any(_repeats_alone(part) for part in _parts(item)) for item in needed or items)


def _may_be_empty(item: Any) -> bool:
    name = str(item[0])
    if name in _REPEATS:
        return bool(item[1][0] == 0) or all(map(_may_be_empty, item[1][2]))
    if name in ("AT", "ASSERT", "ASSERT_NOT"):
        return True
    parts = _parts(item)
    return bool(parts) and any(all(map(_may_be_empty, part)) for part in parts)


def _is_endless(item: Any) -> bool:
    return str(item[0]) in _REPEATS[:2] and item[1][1] >= ENDLESS


def _parts(item: Any) -> list[Any]:
    """What an item of a parsed pattern has within."""
    name, value = str(item[0]), item[1]
    if name in _REPEATS:
        return [value[2]]
    if name == "SUBPATTERN":
        return [value[3]]
    if name == "BRANCH":
        return list(value[1])
    return [value[1]] if name in ("ASSERT", "ASSERT_NOT") else []


def _count_repetitions(source: str) -> int:
    if len(source) > MAX_PATTERN:
        raise UnboundedPattern(f"a regular expression may have {MAX_PATTERN} characters")
    plain = _CLASS.sub("x", re.sub(r"\\(?![1-9]).", "x", source, flags=re.DOTALL))
    if re.search(r"\\[1-9]|\(\?P=|\(\?\(", plain):
        raise UnboundedPattern(f"{source!r} refers back to a group")
    if re.search(r"\)(?:\*|\+|\{)", plain):
        raise UnboundedPattern(f"{source!r} repeats a group")
    repetitions = len(_QUANTIFIER.findall(plain))
    if repetitions >= len(MAX_TEXT) or plain.count("?") > MAX_OPTIONAL:
        raise UnboundedPattern(f"{source!r} repeats more than {len(MAX_TEXT) - 1} times")
    return repetitions
