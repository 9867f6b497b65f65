"""Months of the server's time zone, and how much of a span of time lies in each. Pure; times are Unix seconds."""

import time
from bisect import bisect_right
from datetime import datetime, timedelta

from server.errors import InvalidInput

OLDEST = 2000  # the year; no job is older


class Periods:
    """What lies between two times, as one period without a name or as its months, the first and the last of them cut there."""

    def __init__(self, first: float, last: float, *, by_month: bool) -> None:
        self.first, self.last = first, last
        self.names = [""]
        self.starts = [first]
        if by_month:
            self._by_month()
        self.ends = [*self.starts[1:], last]

    def _by_month(self) -> None:
        begin = time.localtime(self.first)
        year, month = begin.tm_year, begin.tm_mon
        self.names, self.starts = [f"{year:04}-{month:02}"], [self.first]
        while True:
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
            if (start := _beginning(year, month)) >= self.last:
                return
            self.names.append(f"{year:04}-{month:02}")
            self.starts.append(start)

    def number(self, at: float) -> int:
        """Which period a time lies in."""
        return bisect_right(self.starts, at) - 1


class Amounts:
    """How much there was in each period: the sum of what was used at a rate over spans of time, each added in constant time."""

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self._parts = [0.0] * len(periods.starts)  # of periods that a span covers in part
        self._steps = [0.0] * (len(periods.starts) + 1)  # by how much the rate over whole periods changes at each

    def add(self, rate: float, begin: float, end: float) -> None:
        """Something was used at that rate, so much in a second, from one time to another."""
        periods = self._periods
        begin, end = max(begin, periods.first), min(end, periods.last)
        if end <= begin:
            return
        first, last = periods.number(begin), periods.number(end)
        if first == last:
            self._parts[first] += rate * (end - begin)
            return
        self._parts[first] += rate * (periods.ends[first] - begin)
        self._parts[last] += rate * (end - periods.starts[last])
        self._steps[first + 1] += rate
        self._steps[last] -= rate

    def totals(self) -> list[float]:
        """What was used in each period."""
        rate, found = 0.0, []
        for number, part in enumerate(self._parts):
            rate += self._steps[number]
            found.append(part + rate * (self._periods.ends[number] - self._periods.starts[number]))
        return found


def span(first: str, last: str, now: float) -> tuple[float, float]:
    """From the beginning of the day ``first`` (default: of all time) to the end of ``last``, but not after now.

    Raises InvalidInput.
    """
    begin = _midnight(first, "first") if first else _beginning(OLDEST, 1)
    end = min(_midnight(last, "last", days=1) if last else now, now)
    if begin >= end:
        raise InvalidInput("the first day is after the last one, or has not begun", field="first")
    return begin, end


def _midnight(day: str, field: str, days: int = 0) -> float:
    try:
        return (datetime.strptime(day, "%Y-%m-%d") + timedelta(days=days)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"{day[:40]!r} is not a day as YYYY-MM-DD", field=field) from None


def _beginning(year: int, month: int) -> float:
    return time.mktime((year, month, 1, 0, 0, 0, 0, 0, -1))
