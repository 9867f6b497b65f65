"""The settings of a job as text: a JSON object that every client can read back, of bounded size."""

import json
import math
from typing import Any

from server.errors import InvalidInput

MAX_SETTINGS_BYTES = 5_000_000
MAX_VALUES = 300_000  # in them, roughly: each takes up to a hundred bytes of memory, however short it is written
MAX_DEPTH = 100  # of lists and objects in the settings; those of a form have three


def parse_settings(text: str) -> dict[str, Any]:
    """The form as an object that every client can read back: what Python takes beyond JSON is refused. Raises InvalidInput."""
    if len(text) > MAX_SETTINGS_BYTES:
        raise InvalidInput("the settings are too long", field="settings")
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise InvalidInput(f"the settings have more than {MAX_VALUES} values", field="settings")
    try:
        settings = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        raise InvalidInput("the settings are not valid JSON", field="settings") from None
    if not isinstance(settings, dict):
        raise InvalidInput("the settings are not a JSON object", field="settings")
    if _is_deeper(settings, MAX_DEPTH):
        raise InvalidInput(f"the settings have more than {MAX_DEPTH} lists or objects within each other", field="settings")
    return settings


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _is_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [inner for outer in level for inner in _within(outer)]
    return bool(level)


def _within(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
