"""The end tag: a regular expression that an app's author names as the sign of success. Owns where it is looked for."""

from __future__ import annotations

import os
import re

from cumulus_runner.errors import StageFailed
from cumulus_runner.lines import INFO, PREFIXES, SERVER, STDERR
from cumulus_runner.orders import Places, Plan

IN_LOG = "%stderr%"
SEARCHED = 32 * 1024 * 1024  # a sign of the end stands at the end


def find_end_tag(plan: Plan, places: Places) -> bool | None:
    """Whether the run left its end tag; None where the app has none. Raises StageFailed for one that is no regular expression."""
    if not plan.end_tag:
        return None
    try:
        pattern = re.compile(plan.end_tag)
    except re.error as problem:
        raise StageFailed(f"the app's end tag is not a regular expression: {problem}") from None
    if plan.end_tag_location in (None, IN_LOG):
        return _in_log(pattern, places.log)
    path = os.path.realpath(os.path.join(places.output, plan.end_tag_location or ""))
    return (
        path.startswith(os.path.realpath(places.work) + os.sep) and os.path.isfile(path) and bool(pattern.search(_end_of(path)))
    )


def _in_log(pattern: re.Pattern[str], path: str) -> bool:
    """In what the program wrote: with the prefixes as a person reads them, or without."""
    lines = [line for line in _end_of(path).split("\n") if not line.startswith((SERVER, INFO))]
    return any(pattern.search("\n".join(text)) for text in (lines, [_bare(line) for line in lines]))


def _bare(line: str) -> str:
    if line.startswith(STDERR):
        return line[len(STDERR) + 1 :]
    return line[1:] if line[1:].startswith(PREFIXES) else line


def _end_of(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - SEARCHED))
        return file.read().decode("utf-8", "replace")
