"""What apps say they have found: a job's figures as its row keeps them, for programs and for people."""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def parse_figures(text: str) -> list[dict[str, Any]]:
    """The figures of a row: ``name``, ``label`` and ``value`` of each; what else a row may hold is none."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [one for one in found if _is_figure(one)] if isinstance(found, list) else []


def described(figures: Iterable[dict[str, Any]]) -> str:
    """Figures for a person, such as ``1,684 spectra, 75 models``."""
    return ", ".join(f"{one['value']:,} {one.get('label') or one.get('name', '')}" for one in figures if _is_figure(one))


def in_a_line(message: str, warning: str, figures: Iterable[dict[str, Any]]) -> str:
    """What a job's owner reads of it in a list: its message, or its warning; of a job that is done without one what it found."""
    if message:
        return message
    if warning:
        return f"Warning: {'; '.join(warning.splitlines())}"
    return described(figures)


def per_file(files: Iterable[dict[str, Any]], figures: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Name, outcome and words of each file that an app took by itself, from the run's report."""
    found = list(figures)
    for one in files:
        name = str(one.get("name", ""))
        words = str(one.get("message", "")) or described(figure for figure in found if figure.get("file") == name)
        yield name, str(one.get("outcome", "")), words


def _is_figure(one: object) -> bool:
    return isinstance(one, dict) and isinstance(one.get("value"), int | float)
