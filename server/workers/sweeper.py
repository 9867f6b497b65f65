"""What exists for nobody, and what is missing: the cloud's list by tag and Terraform's workspaces beside the rows of the workers.

Owns the comparison and the removal. An orphan is removed only when it was seen at two looks that are apart: between the reading
of two lists anything may end. Only what carries this installation's tag is ever listed, by the cloud's driver.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.errors import InfrastructureError
from server.models import Worker, living_workers
from server.states import WorkerState
from server.workers.clouds.base import Cloud, Resource
from server.workers.fleet import Fleet

# Other workspaces, such as a canary's, belong to who made them.
OWN_NAME = re.compile(r"job-[1-9][0-9]*(-[1-9][0-9]*)?|pool-[1-9][0-9]*")
log = structlog.get_logger()


@dataclass(frozen=True)
class Orphan:
    """Something that no living worker accounts for. ``worker``: "" where it belongs to none."""

    kind: str
    worker: str
    identifier: str


@dataclass(frozen=True)
class Findings:
    """One look. ``missing``: names of workers that should have a machine and have none."""

    orphans: tuple[Orphan, ...]
    missing: tuple[str, ...]


class Sweeper:
    """Sweeps one installation. Not thread-safe: one sweep at a time."""

    def __init__(self, cloud: Cloud, fleet: Fleet, jobs: Path) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._jobs = jobs
        self._before: frozenset[Orphan] = frozenset()
        self.seen = 0
        self.removed = 0

    def look(self) -> Findings:
        """Compare; change nothing. The cloud is read first: a worker's row is older than anything that is made for it."""
        resources = self._cloud.resources()
        found = [Orphan(one.kind, one.worker, one.identifier) for one in resources]
        found += [Orphan("workspace", name, name) for name in self._fleet.workspaces() if OWN_NAME.fullmatch(name)]
        found += [Orphan("process", name, name) for name in self._fleet.former_workers() if OWN_NAME.fullmatch(name)]
        rows = {worker.name: worker for worker in living_workers()}
        orphans = tuple(one for one in found if one.worker not in rows)
        machines = {one.worker for one in resources if one.kind == "machine" and one.alive}
        missing = tuple(name for name, row in rows.items() if _should_exist(row) and name not in machines)
        return Findings(orphans, missing)

    def sweep(self) -> Findings:
        """Look, and remove what was an orphan at the look before, too. What the cloud needs here is started where it has died."""
        self._cloud.start()
        findings = self.look()
        self.seen = len(findings.orphans)
        twice = [one for one in findings.orphans if one in self._before]
        self._before = frozenset(findings.orphans)
        for worker in sorted({one.worker for one in twice if one.worker}):
            self._remove_worker(worker, [one for one in twice if one.worker == worker])
        for one in twice:
            if not one.worker:
                self._remove_resource(one)
        return findings

    def _remove_worker(self, worker: str, orphans: list[Orphan]) -> None:
        try:
            self._fleet.remove(worker, self._jobs / worker)
        except InfrastructureError as error:
            log.warning("an orphan could not be removed yet", worker=worker, detail=error.message)
        else:
            self.removed += len(orphans)
            log.warning("an orphan was removed", worker=worker, what=" ".join(sorted({one.kind for one in orphans})))

    def _remove_resource(self, one: Orphan) -> None:
        for resource in self._cloud.resources():
            if Orphan(resource.kind, resource.worker, resource.identifier) == one:
                self._delete(resource)

    def _delete(self, resource: Resource) -> None:
        try:
            self._cloud.delete(resource)
        except InfrastructureError as error:
            log.warning("an orphan could not be removed yet", what=resource.identifier, detail=error.message)
        else:
            self.removed += 1
            log.warning("an orphan was removed", what=f"{resource.kind} {resource.identifier}")


def _should_exist(row: Worker) -> bool:
    return row.state in (WorkerState.READY, WorkerState.BUSY, WorkerState.HELD)
