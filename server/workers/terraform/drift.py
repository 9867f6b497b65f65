"""What a plan of Terraform's finds to differ, in one line for a person. Pure: reads what ``terraform show -json`` has written.

The format: https://developer.hashicorp.com/terraform/internals/json-format (``resource_drift``, ``output_changes``).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

VALUE_LIMIT = 60  # characters of a value
LINE_LIMIT = 500
EMPTY: tuple[object, ...] = (None, "", [], {}, False)
HIDDEN = "(sensitive)"


def differences(plan: Mapping[str, Any]) -> str:
    """What differs, such as ``terraform_data.worker: pid 17 → 18``; "" where nothing does."""
    parts = [*_of_resources(plan), *_of_outputs(plan)]
    line = "; ".join(parts)
    return line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]}…"


def _of_resources(plan: Mapping[str, Any]) -> Iterator[str]:
    asked = _asked_for(plan)
    for one in plan.get("resource_drift") or ():
        change = one["change"]
        if "delete" in change["actions"]:
            yield f"{one['address']}: is gone"
        elif found := list(_of_attributes(change, asked.get(one["address"], frozenset()))):
            yield f"{one['address']}: {', '.join(found)}"


def _of_attributes(change: Mapping[str, Any], asked: Collection[str]) -> Iterator[str]:
    """What differs; not what the cloud has added since and nobody asked for, such as which machine a port belongs to."""
    before, after = change.get("before") or {}, change.get("after") or {}
    secret = _names(change.get("before_sensitive")) | _names(change.get("after_sensitive"))
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new and (old not in EMPTY or name in asked):
            yield f"{name} {HIDDEN if name in secret else f'{_value(old)} → {_value(new)}'}"


def _asked_for(plan: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The attributes that the module itself sets, of each resource."""
    root = (plan.get("configuration") or {}).get("root_module") or {}
    return {str(one["address"]): frozenset(one.get("expressions") or ()) for one in root.get("resources") or ()}


def _of_outputs(plan: Mapping[str, Any]) -> Iterator[str]:
    for name, change in sorted((plan.get("output_changes") or {}).items()):
        if change["actions"] != ["no-op"] and change.get("before") != change.get("after"):
            secret = change.get("before_sensitive") or change.get("after_sensitive")
            values = f"{_value(change.get('before'))} → {_value(change.get('after'))}"
            yield f"output {name}: {HIDDEN if secret else values}"


def _names(mask: object) -> set[str]:
    """The attributes that a mask of sensitive values marks, wholly or in part."""
    return {name for name, marked in mask.items() if marked} if isinstance(mask, dict) else set()


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}…"
