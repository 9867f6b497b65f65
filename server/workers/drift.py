"""What a plan of Terraform's finds to differ, in one line for a person. Pure: reads what ``terraform show -json`` has written.

The format: https://developer.hashicorp.com/terraform/internals/json-format (``resource_drift``, ``output_changes``).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

VALUE_LIMIT = 60  # characters of a value
LINE_LIMIT = 500
HIDDEN = "(sensitive)"


def differences(plan: Mapping[str, Any]) -> str:
    """What differs, such as ``terraform_data.worker: pid 17 → 18``; "" where nothing does."""
    parts = [*_of_resources(plan), *_of_outputs(plan)]
    line = "; ".join(parts)
    return line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]}…"


def _of_resources(plan: Mapping[str, Any]) -> Iterator[str]:
    for one in plan.get("resource_drift") or ():
        change = one["change"]
        if "delete" in change["actions"]:
            yield f"{one['address']}: is gone"
        else:
            yield f"{one['address']}: {', '.join(_of_attributes(change)) or 'changed'}"


def _of_attributes(change: Mapping[str, Any]) -> Iterator[str]:
    before, after = change.get("before") or {}, change.get("after") or {}
    secret = _names(change.get("before_sensitive")) | _names(change.get("after_sensitive"))
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name} {HIDDEN if name in secret else f'{_value(before.get(name))} → {_value(after.get(name))}'}"


def _of_outputs(plan: Mapping[str, Any]) -> Iterator[str]:
    for name, change in sorted((plan.get("output_changes") or {}).items()):
        if change["actions"] != ["no-op"]:
            secret = change.get("before_sensitive") or change.get("after_sensitive")
            values = f"{_value(change.get('before'))} → {_value(change.get('after'))}"
            yield f"output {name}: {HIDDEN if secret else values}"


def _names(mask: object) -> set[str]:
    """The attributes that a mask of sensitive values marks, wholly or in part."""
    return {name for name, marked in mask.items() if marked} if isinstance(mask, dict) else set()


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}…"
