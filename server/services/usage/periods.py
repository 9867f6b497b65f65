"""Months of the server's time zone, and which part of a span of time lies in each. Pure; times are Unix seconds."""

import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta

from server.errors import InvalidInput

OLDEST = 2000  # the year; no job is older


class Months:
    """The months between two times, the first and the last of them cut there."""

    def __init__(self, first: float, last: float) -> None:
        begin = datetime.fromtimestamp(first).astimezone()
        self._starts: list[float] = []
        self._names: list[str] = []
        year, month = begin.year, begin.month
        while (start := _beginning(year, month)) < last:
            self._starts.append(max(start, first))
            self._names.append(f"{year:04}-{month:02}")
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        self._ends = [*self._starts[1:], last]
        self._first, self._last = first, last

    def name(self, at: float) -> str:
        """The month of a time between the two."""
        return self._names[bisect_right(self._starts, at) - 1]

    def parts(self, begin: float, end: float) -> Iterator[tuple[str, float]]:
        """The months that a span touches, with how many seconds of it lie in each."""
        begin, end = max(begin, self._first), min(end, self._last)
        if end <= begin:
            return
        number = bisect_right(self._starts, begin) - 1
        while begin < end:
            until = min(end, self._ends[number])
            yield self._names[number], until - begin
            begin, number = until, number + 1


def span(first: str, last: str, now: float) -> tuple[float, float]:
    """From the beginning of the day ``first`` (default: of all time) to the end of ``last``, but not after now.

    Raises InvalidInput.
    """
    begin = _midnight(first, "first") if first else _beginning(OLDEST, 1)
    end = min(_midnight(last, "last", days=1) if last else now, now)
    if begin > end:
        raise InvalidInput("the first day is after the last one, or has not begun", field="first")
    return begin, end


def _midnight(day: str, field: str, days: int = 0) -> float:
    try:
        return (datetime.strptime(day, "%Y-%m-%d") + timedelta(days=days)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"{day[:40]!r} is not a day as YYYY-MM-DD", field=field) from None


def _beginning(year: int, month: int) -> float:
    return time.mktime((year, month, 1, 0, 0, 0, 0, 0, -1))
