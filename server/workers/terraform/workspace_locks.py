"""Who is at work on a workspace: one terraform at a time, of this installation or of anybody else.

Two locks: this installation's own, which covers all that is done to a workspace, and Terraform's on the state file, which also
an administrator's plain terraform takes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from programs.errors import explained
from server.workers.clouds.machine_locks import exclusive, is_held
from server.workers.terraform.process import TerraformError
from server.workers.terraform.state_lock import Lock, read_lock
from server.workers.terraform.state_store import StateStore


@dataclass(frozen=True)
class WorkspaceLocks:
    """Those of one module's workspaces."""

    store: StateStore

    @contextmanager
    def exclusive(self, workspace: str, limit_s: float) -> Iterator[None]:
        """Keep every other terraform of this installation, of whichever process, from the workspace meanwhile.

        Raises InfrastructureError after ``limit_s`` seconds without the lock; an OSError within is raised as TerraformError.
        """
        try:
            with exclusive(self._file, workspace, limit_s):
                yield
        except OSError as problem:
            raise TerraformError(f"terraform's files of {workspace} cannot be used: {explained(problem)}") from problem

    def state_lock(self, workspace: str) -> Lock | None:
        """Who holds Terraform's lock on the workspace's state, or has left one; None where it is free."""
        return read_lock(self.store.state_file(workspace))

    def is_state_locked(self, workspace: str) -> bool:
        """Whether somebody holds Terraform's lock on the workspace's state now."""
        lock = self.state_lock(workspace)
        return lock is not None and lock.is_held

    def is_at_work(self, workspace: str) -> bool:
        """Whether a terraform is at the workspace now: this installation's, or anybody's that holds the state's lock."""
        return is_held(self._file, workspace) or self.is_state_locked(workspace)

    @property
    def _file(self) -> Path:
        return self.store.home / "workspaces.lock"
