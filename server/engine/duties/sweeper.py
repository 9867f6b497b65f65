"""Orphans and missing machines: the cloud's list by tag and Terraform's workspaces, compared with the rows of the workers.

Owns the comparison and the removal. An orphan is removed only when two inspections have seen it: between the reading of two lists
anything may end. The cloud's driver lists only what carries this installation's tag.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.db.cached_sql import tuples
from server.db.models import Job, Worker, living_workers
from server.errors import InfrastructureError
from server.states import WorkerState
from server.workers.clouds.base import Cloud, Resource
from server.workers.fleet import Fleet

OF_A_JOB = re.compile(r"job-(?P<job>[1-9][0-9]{0,14})(-[1-9][0-9]*)?")
FOLDER = re.compile(r"Job_(?P<job>[1-9][0-9]{0,14})_.+")
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
    """The result of one inspection. ``missing``: names of workers that should have a machine and have none."""

    orphans: tuple[Orphan, ...]
    missing: tuple[str, ...]


class Sweeper:
    """Sweeps one installation. Not thread-safe: one sweep at a time."""

    def __init__(self, cloud: Cloud, fleet: Fleet, jobs: Path) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._jobs = jobs
        self._before: frozenset[Orphan] = frozenset()
        self._excluded: frozenset[str] = frozenset()
        self.seen = 0
        self.removed = 0

    def inspect(self) -> Findings:
        """Compare; change nothing. The cloud is read first: a worker's row is older than anything that is made for it."""
        resources = self._cloud.resources()
        found = [Orphan(one.kind, one.worker, one.identifier) for one in resources]
        found += [Orphan("workspace", name, name) for name in self._fleet.workspaces() if OWN_NAME.fullmatch(name)]
        found += [Orphan("process", name, name) for name in self._fleet.former_workers() if OWN_NAME.fullmatch(name)]
        rows = {worker.name: worker for worker in living_workers()}
        unknown = {one.worker for one in found if one.worker not in rows}
        excluded = self._of_jobs_without_a_row(unknown)
        orphans = tuple(one for one in found if one.worker in unknown - excluded)
        machines = {one.worker for one in resources if one.kind == "machine" and one.alive}
        missing = tuple(name for name, row in rows.items() if _should_exist(row) and name not in machines)
        return Findings(orphans, missing)

    def _of_jobs_without_a_row(self, names: set[str]) -> frozenset[str]:
        """Those of jobs that only the storage knows, because the database is older: they may be at work."""
        numbers = {name: int(match["job"]) for name in names if (match := OF_A_JOB.fullmatch(name))}
        if not numbers:
            return frozenset()
        marks = ", ".join("?" * len(numbers))
        known = {number for (number,) in tuples(Job, ("id",), f"id IN ({marks})", *numbers.values())}
        with_folder = _numbers_of_folders(self._jobs) - known
        excluded = frozenset(name for name, number in numbers.items() if number in with_folder)
        if excluded - self._excluded:
            log.warning(
                "machines of jobs that only the storage knows are left alone; `cumulus db rebuild` takes these jobs in",
                workers=" ".join(sorted(excluded)),
            )
        self._excluded = excluded
        return excluded

    def sweep(self) -> Findings:
        """Inspect, and remove what was an orphan before, too. Restarts what the cloud needs on this computer."""
        self._cloud.start()
        findings = self.inspect()
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


def _numbers_of_folders(jobs: Path) -> set[int]:
    """The numbers of the jobs that have a folder; none where they cannot be listed."""
    with suppress(OSError), os.scandir(jobs) as entries:
        return {int(match["job"]) for entry in entries if (match := FOLDER.fullmatch(entry.name))}
    return set()


def _should_exist(row: Worker) -> bool:
    return row.state in (WorkerState.READY, WorkerState.BUSY, WorkerState.HELD)
