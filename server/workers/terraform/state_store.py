"""The states and variables of a module's workspaces: where their files lie, and what they hold.

Starts no terraform and takes no lock: whoever writes here holds the workspace's lock.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from server.home.files import clear, own_folder, read_own_text, remove_own, unfinished, write_own
from server.workers.terraform.process import TerraformError
from server.workers.terraform.state_file import clear_way, is_state, read_state

WORKSPACE = re.compile(r"[a-z][a-z0-9-]{0,62}")
log = structlog.get_logger()


@dataclass(frozen=True)
class VariableFiles:
    """The values that each workspace was last applied with, a file for each in ``folder``."""

    folder: Path

    def path(self, workspace: str) -> Path:
        """The workspace's file. Raises TerraformError for what cannot be a workspace's name."""
        if not WORKSPACE.fullmatch(workspace):
            raise TerraformError(f"{workspace!r} cannot be a workspace's name")
        return self.folder / f"{workspace}.tfvars.json"

    def names(self) -> set[str]:
        """The workspaces that have a file."""
        found = (path.name.partition(".")[0] for path in self.folder.glob("*.tfvars.json"))
        return {name for name in found if WORKSPACE.fullmatch(name)}

    def read(self, workspace: str) -> dict[str, Any]:
        """The workspace's values; empty where it was never applied, or they cannot be read."""
        try:
            found = json.loads(read_own_text(self.path(workspace)))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, workspace: str, values: Mapping[str, object]) -> None:
        """Write the values that the next apply reads."""
        write_own(self.path(workspace), json.dumps(values, indent=1) + "\n", 0o644)

    def remove(self, workspace: str) -> None:
        """Remove the file, and what a killed controller had begun to write of it."""
        path = self.path(workspace)
        for one in (path, *unfinished(path)):
            remove_own(one)


@dataclass(frozen=True)
class StateStore:
    """The workspaces of one module, below ``home``."""

    home: Path

    @property
    def states(self) -> Path:
        """The workspaces' states, a folder for each."""
        return self.home / "state" / "workspaces"

    @property
    def variable_files(self) -> VariableFiles:
        """The values that the workspaces were last applied with."""
        return VariableFiles(self.home / "vars")

    def state_file(self, workspace: str) -> Path:
        """Where Terraform keeps the workspace's state."""
        return self.states / workspace / "terraform.tfstate"

    def workspaces(self) -> list[str]:
        """Names of the workspaces that have a state."""
        found = (entry.name for entry in self.states.iterdir()) if self.states.is_dir() else ()
        return sorted(name for name in found if WORKSPACE.fullmatch(name))

    def names(self) -> list[str]:
        """Names of the workspaces, and of those that have left no more than their variables."""
        return sorted({*self.workspaces(), *self.variable_files.names()})

    def state(self, workspace: str) -> dict[str, Any]:
        """The workspace's state as terraform wrote it; empty where there is none."""
        return read_state(self.state_file(workspace))

    def outputs(self, workspace: str) -> dict[str, Any]:
        """The outputs in the workspace's state; empty where there is none."""
        return {name: output["value"] for name, output in (self.state(workspace).get("outputs") or {}).items()}

    def variables(self, workspace: str) -> dict[str, Any]:
        """The variables that the workspace was last applied with; empty where it never was, or they cannot be read."""
        return self.variable_files.read(workspace)

    def made(self, workspace: str) -> dict[str, tuple[str, bool]]:
        """Address -> id of each resource in the workspace's state, and whether it was left half made."""
        found: dict[str, tuple[str, bool]] = {}
        for one in self.state(workspace).get("resources", []):
            for instance in one.get("instances", []) if one.get("mode") == "managed" else ():
                identifier = str(instance.get("attributes", {}).get("id") or "")
                number = f"[{instance['index_key']}]" if isinstance(instance.get("index_key"), int) else ""
                found[f"{one.get('type')}.{one.get('name')}{number}"] = identifier, instance.get("status") == "tainted"
        return found

    def is_readable(self, workspace: str) -> bool:
        """Whether the workspace's state can be read, or there is none: a terraform that is killed may leave half a file."""
        return is_state(self.state_file(workspace))

    def can_destroy(self, workspace: str) -> bool:
        """Whether terraform can remove what the workspace holds: that takes its state, and the values that it was made with."""
        return self.is_readable(workspace) and bool(not self.state(workspace).get("resources") or self.variables(workspace))

    def make_usable(self, workspace: str) -> None:
        """Set aside what terraform would wait for, or refuse for ever. Raises InTheWay."""
        if not self.is_readable(workspace):
            kept = self.set_aside(workspace)
            log.warning("a workspace's state cannot be used; it is set aside", workspace=workspace, kept=str(kept))
        clear_way(self.state_file(workspace))

    def set_aside(self, workspace: str) -> Path | None:
        """Move the state out of terraform's sight; returns where it lies now, None where there was none.

        Not beside its former place, where Terraform would take it for another workspace.
        """
        source = self.state_file(workspace).parent
        if not os.path.lexists(source):
            return None
        own_folder(self.home / "broken")
        aside = self.home / "broken" / f"{workspace}.{time.strftime('%Y%m%d-%H%M%S')}"
        shutil.rmtree(aside, ignore_errors=True)
        source.rename(aside)
        return aside

    def forget(self, workspace: str) -> None:
        """What `terraform workspace delete` does on this backend, without starting a terraform. Raises TerraformError."""
        if left := self.state(workspace).get("resources"):
            raise TerraformError(f"terraform destroy: {len(left)} resources are left in the state of {workspace}")
        clear(self.state_file(workspace).parent)

    def remove_empty(self, workspace: str) -> None:
        """Remove the workspace's folder where there is no state in it: a plan makes it anew for one that has just gone."""
        if not self.state_file(workspace).exists():
            with suppress(OSError):
                self.state_file(workspace).parent.rmdir()
