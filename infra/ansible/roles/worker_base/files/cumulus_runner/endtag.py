"""The end tag: a regular expression that an app's author names as the sign of success. Owns where it is looked for."""

from __future__ import annotations

import os
import re

from cumulus_runner.errors import StageFailed
from cumulus_runner.lines import INFO, PREFIXES, SERVER, STDERR
from cumulus_runner.orders import Places, Plan
from cumulus_runner.searching import LIMIT_S, TooSlow, bounded

IN_LOG = "%stderr%"
SEARCHED = 32 * 1024 * 1024  # a sign of the end stands at the end
Stamp = tuple[int, int, int]


def find_end_tag(
    plan: Plan, places: Places, since: int = 0, before: Stamp | None = None, limit_s: float = LIMIT_S
) -> bool | None:
    """Whether the run left its end tag; None where the app has none.

    ``since``: where the run's part of the log begins; ``before``: :func:`location_stamp` before the run. Raises StageFailed for
    one that is no regular expression, or cannot be searched in ``limit_s`` seconds.
    """
    if not plan.end_tag:
        return None
    try:
        pattern = re.compile(plan.end_tag)
    except (re.error, RecursionError, OverflowError) as problem:
        raise StageFailed(f"the app's end tag is not a regular expression: {problem}") from None
    try:
        return bounded(lambda: _is_found(pattern, plan, places, since, before), limit_s, directly=is_simple(plan.end_tag))
    except TooSlow:
        raise StageFailed(
            f"the app's end tag could not be searched in {limit_s:.0f} s: its author has to write a simpler one"
        ) from None


def is_simple(pattern: str) -> bool:
    """Whether a regular expression repeats nothing, so that any text is searched at once."""
    return not set(pattern) & set("*+{")


def location_stamp(plan: Plan, places: Places) -> Stamp | None:
    """What tells the file with the end tag from one that another run wrote; None where there is none."""
    path = _location(plan, places)
    if path is None:
        return None
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns, found.st_size


def program_lines(path: str, since: int = 0) -> list[str]:
    """The lines of a log that a program wrote, as it wrote them."""
    return [_bare(line) for line in _program_lines(path, since)]


def _is_found(pattern: re.Pattern[str], plan: Plan, places: Places, since: int, before: Stamp | None) -> bool:
    if plan.end_tag_location in (None, IN_LOG):
        return _in_log(pattern, places.log, since)
    path = _location(plan, places)
    if path is None or location_stamp(plan, places) == before:
        return False
    return bool(pattern.search(_end_of(path)))


def _location(plan: Plan, places: Places) -> str | None:
    if plan.end_tag_location in (None, IN_LOG):
        return None
    path = os.path.realpath(os.path.join(places.output, plan.end_tag_location or ""))
    inside = path.startswith(os.path.realpath(places.work) + os.sep)
    return path if inside and os.path.isfile(path) else None


def _in_log(pattern: re.Pattern[str], path: str, since: int) -> bool:
    """In what the program wrote: with the prefixes as a person reads them, or without."""
    lines = _program_lines(path, since)
    return any(pattern.search("\n".join(text)) for text in (lines, [_bare(line) for line in lines]))


def _program_lines(path: str, since: int) -> list[str]:
    return [line for line in _end_of(path, since).split("\n") if not line.startswith((SERVER, INFO))]


def _bare(line: str) -> str:
    if line.startswith(STDERR):
        return line[len(STDERR) + 1 :]
    return line[1:] if line[1:].startswith(PREFIXES) else line


def _end_of(path: str, since: int = 0) -> str:
    with open(path, "rb") as file:
        file.seek(max(since, os.path.getsize(path) - SEARCHED))
        return file.read().decode("utf-8", "replace")
