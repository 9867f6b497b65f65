"""Regular expressions from app XML that are matched with what users type: bounded, so that no text can keep the controller busy.

Python's matcher goes back and tries again. So a pattern may repeat only single characters and classes, and few times; the
longest text that it is matched with follows from how many repetitions it has.
"""

import re

from server.errors import InvalidInput

MAX_PATTERN = 200
MAX_OPTIONAL = 10
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
