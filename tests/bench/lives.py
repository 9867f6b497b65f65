"""A job's life as three see it: the bare script (floor.py), Cumulus, and another server with the same REST.

Owns the names of the steps that all have in common, and how they are taken from Cumulus (its rows and the job's log) and from the
other server (what it shows over REST).
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from server.client import Client
from server.db.models import Event, Job, Worker
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from tests.bench.measuring import until

APP = "probe_1.0"
FIRST_LINE = b"probe started"
MACHINE = "the machine is itself"
SSH = "it takes a login"
LINE = "the app's first line"
END = "the app's end is seen"
GONE = "the machine is gone"
STEPS = (MACHINE, LINE, END, GONE)
ROW_LOOK_S = 0.05  # each look costs what is measured
GONE_LOOK_S = 0.05
REST_LOOK_S = 0.1


@dataclass
class Marks:
    """Seconds from the beginning to each step that was reached."""

    seconds: dict[str, float] = field(default_factory=dict)
    begin: float = field(default_factory=time.time)

    def reach(self, step: str, at: float | None = None) -> None:
        """Now, or at a time (Unix seconds) that is known from elsewhere."""
        self.seconds[step] = (time.time() if at is None else at) - self.begin


@dataclass(frozen=True)
class CumulusLives:
    """Jobs of a controller on this computer. Its rows are read as they are, so that looking costs it nothing."""

    client: Client
    settings: Settings

    def lives(self, number: int, seconds: float, flavor: str = "") -> list[dict[str, float]]:
        """So many lives at once; seconds from their common beginning to each step. ``seconds``: that the app sleeps."""
        marks = [Marks() for _ in range(number)]
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(lambda one: self._life(one, form(seconds), flavor or self.settings.default_flavor), marks))
        return [one.seconds for one in marks]

    def _life(self, marks: Marks, settings: Mapping[str, str], flavor: str) -> None:
        started = self.client.start("bench", APP, flavor, settings)
        folder = Storage(self.settings.storage).folder(started.folder)
        folder.mark_arrived()
        marks.reach("submitted")
        worker = until(lambda: Worker.get_or_none(Worker.job_id == started.job_id), look_s=ROW_LOOK_S)
        until(lambda: has_begun(folder))
        marks.reach(LINE)
        until(lambda: Worker.get_or_none(Worker.id == worker.id, Worker.state == "deleted"), look_s=GONE_LOOK_S)
        _reach_moves(marks, "job", started.job_id)
        _reach_moves(marks, "worker", worker.id)
        marks.reach("a worker's row", _arrival("job", started.job_id, "provisioning"))  # one transaction with it
        marks.reach(MACHINE, _arrival("worker", worker.id, "booting"))
        marks.reach(END, Job.get_by_id(started.job_id).ended)
        marks.reach(GONE, Worker.get_by_id(worker.id).ended)
        result = folder.reports.result(1)
        if result is not None and result.ended is not None:  # by the machine's clock, which it got from this computer
            marks.reach("the app's end", result.ended)


@dataclass(frozen=True)
class BaselineLives:
    """Jobs of another server with the same REST. ``agent``: the URL of its upload agent; or ``storage``: its shared folder."""

    client: Client
    flavor: str
    agent: str = ""
    storage: Path | None = None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "BaselineLives | None":
        """By BASELINE_URL, and BASELINE_AGENT_URL or BASELINE_STORAGE; None where no such server is named."""
        if not (url := environment.get("BASELINE_URL")):
            return None
        storage = environment.get("BASELINE_STORAGE")
        flavor, agent = environment.get("BASELINE_FLAVOR", "m1.4xlarge"), environment.get("BASELINE_AGENT_URL", "")
        return cls(Client(url.rstrip("/")), flavor, agent.rstrip("/"), Path(storage) if storage else None)

    def lives(self, number: int, seconds: float) -> list[dict[str, float]]:
        """As the others', of which REST shows two steps: the app's first line in the log, and its end."""
        marks = [Marks() for _ in range(number)]
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(lambda one: self._life(one, form(seconds)), marks))
        return [one.seconds for one in marks]

    def _life(self, marks: Marks, settings: Mapping[str, str]) -> None:
        started = self.client.start("bench", APP, self.flavor, settings)
        self._send_nothing(started.job_id, started.folder)
        until(lambda: FIRST_LINE.decode() in self._shown(started.job_id)["log"], look_s=REST_LOOK_S)
        marks.reach(LINE)
        row = until(lambda: self._ended(started.job_id), look_s=REST_LOOK_S)
        if row["status"] != "DONE":
            raise RuntimeError(f"a job of {self.client.url} is {row['status']}")
        marks.reach(END)

    def _send_nothing(self, job_id: int, folder: str) -> None:
        """The job has no files: the agent only says that all are there."""
        if self.storage is not None:
            JobFolder(self.storage / "jobs" / folder).mark_arrived()
        elif self.agent:
            form = {"job_id": str(job_id), "job_dir": folder, "owner": "bench", "files": "[]", "local_files": "[]"}
            multipart = {name: (None, text) for name, text in form.items()}
            httpx.post(f"{self.agent}/send-rsync", files=multipart, timeout=30, trust_env=False).raise_for_status()

    def _shown(self, job_id: int) -> dict[str, Any]:
        return self.client.job(job_id)

    def _ended(self, job_id: int) -> dict[str, Any] | None:
        row = self._shown(job_id)
        return row if row["status"] in ("DONE", "FAILED", "CANCELLED") else None


def form(seconds: float) -> dict[str, str]:
    """The test app's settings: it sleeps so long and ends well."""
    return {"text": "bench", "seconds": f"{seconds:g}", "outcome": "ok"}


def has_begun(folder: JobFolder) -> bool:
    """Whether the app's first line is in the storage."""
    return folder.log.path.exists() and FIRST_LINE in folder.log.path.read_bytes()


def _reach_moves(marks: Marks, subject: str, row_id: int) -> None:
    for event in Event.select().where(Event.subject == subject, Event.subject_id == row_id).order_by(Event.id):
        if event.new:
            marks.reach(f"{subject} {event.new}", event.at)


def _arrival(subject: str, row_id: int, state: str) -> float:
    rows = Event.select(Event.at).where(Event.subject == subject, Event.subject_id == row_id, Event.new == state)
    return float(rows.order_by(Event.id).get().at)
