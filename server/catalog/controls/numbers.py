"""Numbers in a form: single ones, ranges, and those in pairs of key and value. Owns what is a number and which one is accepted.

Numbers arrive as text and stay text on the command line, so that 0.1 is not 0.1000000000000000055. Compared exactly, as decimals.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from server.catalog.controls.control import Control, Texts, V, quoted
from server.catalog.rendering.quoting import NOTHING, ShellText
from server.catalog.rendering.variables import Variables

MAX_DIGITS = 40
MAX_EXPONENT = 300  # what a float can hold
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def parse_number(value: object) -> Decimal | None:
    """A number given as text or as JSON number; None if it is none, or beyond what programs understand."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value) if not isinstance(value, int) or abs(value) < 10**MAX_DIGITS else ""
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return number if number == 0 or abs(number.adjusted()) <= MAX_EXPONENT else None


@dataclass(frozen=True)
class Limits:
    """Which numbers a field accepts: between ``least`` and ``most``, both included; None: no limit on that side.

    ``fractional``: it is a float in a config file, even where it happens to be whole.
    """

    least: Decimal | None = None
    most: Decimal | None = None
    fractional: bool = False

    def problem(self, number: Decimal) -> str | None:
        """Why a number is not accepted; None if it is."""
        if self.least is not None and number < self.least:
            return f"is {number}, less than {self.least}"
        if self.most is not None and number > self.most:
            return f"is {number}, more than {self.most}"
        return None


def read_limits(least: str, most: str, step: str) -> Limits:
    """The limits that a field's attributes (numbers, or "") say. ``step`` is a hint for who fills in the form, and no limit.

    The desktop client sends any decimal whatever the step. Raises ValueError where the attributes contradict each other.
    """
    low, high = parse_number(least), parse_number(most)
    if low is not None and high is not None and low > high:
        raise ValueError(f"min {least} is more than max {most}")
    interval = parse_number(step)
    if interval is not None and interval <= 0:
        raise ValueError(f"step {step} is not more than 0")
    fractional = "." in step or step == "any" or (interval is not None and interval != interval.to_integral_value())
    return Limits(low, high, fractional)


@dataclass(frozen=True, kw_only=True)
class _Numeric(Control[V]):
    limits: Limits

    def number(self, key: str, value: object) -> str | None:
        """The text of a number that is accepted; None where there is none. Raises InvalidInput."""
        if value is None or value == "":
            return None
        number = parse_number(value)
        problem = self.limits.problem(number) if number is not None else f"is {quoted(value)}, not a number"
        if problem:
            self.refuse(problem, key)
        return str(value)

    def converted(self, text: str) -> int | float:
        """The number in a config file."""
        number = Decimal(text)
        return float(text) if self.limits.fractional or number != number.to_integral_value() else int(number)


@dataclass(frozen=True, kw_only=True)
class Number(_Numeric[str]):
    """One number."""

    def _check(self, value: object) -> str | None:
        return self.number(self.name, value)

    def _pieces(self, value: str, texts: Texts) -> Iterator[str]:
        yield self.command.fill({**texts, "value": value})

    def _config(self, value: str, _variables: Variables) -> object:
        return self.converted(value)


@dataclass(frozen=True, kw_only=True)
class Range(_Numeric[tuple[str, str]]):
    """Two numbers, the first not greater than the second; in the settings NAME-min and NAME-max."""

    @property
    def keys(self) -> tuple[str, ...]:
        """One for each end."""
        return f"{self.name}-min", f"{self.name}-max"

    def title_of(self, key: str) -> str:
        """With the end that the key is for."""
        return f"{self.title} ({'least' if key == self.keys[0] else 'greatest'})" if key in self.keys else self.title

    def read(self, settings: Mapping[str, object]) -> tuple[str, str] | None:
        """Both ends; None where one is missing. Raises InvalidInput."""
        return self._check([settings.get(key) for key in self.keys])

    def _check(self, value: object) -> tuple[str, str] | None:
        ends = self.require_list(value)
        low, high = (self.number(key, end) for key, end in zip(self.keys, ends, strict=True))
        if low is None or high is None:
            return None
        if Decimal(low) > Decimal(high):
            self.refuse(f"is {low}, more than the greatest, which is {high}", self.keys[0])
        return low, high

    def _pieces(self, value: tuple[str, str], texts: Texts) -> Iterator[str]:
        yield self.command.fill({**texts, "value": value[0], "value2": value[1]})

    def _config(self, value: tuple[str, str], _variables: Variables) -> object:
        return [self.converted(text) for text in value]


class ValueType(StrEnum):
    """What the values of pairs are."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"


Pairs = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class KeyValues(Control[Pairs]):
    """Pairs of a key and a value, or with ``is_list`` of a key and several values."""

    type_of: ValueType = ValueType.STRING
    is_list: bool = False
    repeated_command: ShellText = NOTHING

    def _check(self, value: object) -> Pairs | None:
        return tuple(self._pair(item) for item in self.require_list([] if value == "" else value)) or None

    def _pair(self, item: object) -> tuple[str, tuple[str, ...]]:
        if not isinstance(item, list) or len(item) != 2:
            self.refuse(f"has {quoted(item)}, not a pair of key and value")
        key = self.require_text(item[0])
        if not key:
            self.refuse("has a value without a key")
        values = self.require_list(item[1]) if self.is_list else [item[1]]
        return key, tuple(self._value(value) for value in values)

    def _value(self, value: object) -> str:
        if self.type_of is ValueType.STRING:
            return self.require_text(value)
        number = parse_number(value)
        if number is None:
            self.refuse(f"has {quoted(value)}, not a number")
        if self.type_of is ValueType.INTEGER and number != number.to_integral_value():
            self.refuse(f"has {quoted(value)}, not a whole number")
        return str(value)

    def _pieces(self, value: Pairs, texts: Texts) -> Iterator[str]:
        yield self.command.fill(texts)
        for key, items in value:
            for item in items:
                yield self.repeated_command.fill({**texts, "key": key, "value": item})

    def _config(self, value: Pairs, variables: Variables) -> object:
        found: dict[str, list[object]] = {}
        for key, items in value:
            if key in found and not self.is_list:
                self.refuse(f"has the key {quoted(key)} twice")
            found.setdefault(key, []).extend(self._converted(item, variables) for item in items)
        return found if self.is_list else {key: items[0] for key, items in found.items()}

    def _converted(self, text: str, variables: Variables) -> object:
        match self.type_of:
            case ValueType.INTEGER:
                return int(Decimal(text))
            case ValueType.FLOAT:
                return float(text)
            case ValueType.STRING:
                return variables.expand(text)
