"""A workspace's state file as Terraform writes it: whether it is one, and what it holds.

A terraform that is killed may leave half a file, a full disk an empty one, a person anything. Format: version 4 of
https://github.com/hashicorp/terraform/blob/main/internal/states/statefile/version4.go (OpenTofu has the same).
"""

import json
import os
from pathlib import Path
from typing import Any

from server.home.files import read_own, require_usable

VERSION = 4
BACKUP = ".backup"  # after the state's name: the version before
NOTE = ".terraform.tfstate.lock.info"


def read_state(path: Path) -> dict[str, Any]:
    """The state; empty where there is none, or what lies there is none."""
    try:
        return _checked(read_own(path))
    except (OSError, ValueError, RecursionError):
        return {}


def is_state(path: Path) -> bool:
    """Whether Terraform could go on from what lies there: a state, an empty file or nothing."""
    if not os.path.lexists(path) and (path.parent.is_dir() or not os.path.lexists(path.parent)):
        return True
    try:
        _checked(read_own(path))
    except (OSError, ValueError, RecursionError):
        return False
    return True


def clear_way(path: Path) -> None:
    """Have Terraform able to write the state, and what it writes beside it. Raises InTheWay."""
    for name in (path, path.with_name(f"{path.name}{BACKUP}"), path.with_name(NOTE)):
        require_usable(name)


def _checked(content: bytes) -> dict[str, Any]:
    """Raises ValueError for what is no state."""
    if not content:
        return {}
    found = json.loads(content)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError("no state of that version")
    resources, outputs = found.get("resources"), found.get("outputs")
    if not _are_objects(resources or []) or not isinstance(outputs or {}, dict):
        raise ValueError("a state without resources or outputs")
    if not all(isinstance(output, dict) and "value" in output for output in (outputs or {}).values()):
        raise ValueError("outputs without values")
    return found


def _are_objects(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(one, dict) for one in values)
