"""A laboratory's database as after some years: many finished jobs, a few that wait for their files, folders of those shown."""

import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.db.connection import open_database
from server.db.models import Job
from server.db.transitions import Change, record_event, transition
from server.home.installation import installation_id
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage, folder_name
from server.storage.identity import write_identity

OWNERS = [
    f"{first}{last}" for first in ("a", "j", "m", "p") for last in ("bernard", "durand", "keller", "lefevre", "martin", "weiss")
]
APPS = ("probe_1.0", "comet_2019.015", "diann_1.9.2", "maxquant_2.4", "sage_0.14")
WORDS = ("HeLa", "digest", "QC", "plasma", "Étude", "2024", "10%", "FDR", "label_free", "phospho", "replicate", "90min", "re-run")
ENDS = (JobState.DONE,) * 8 + (JobState.FAILED, JobState.CANCELLED)
DAYS = 900
WAITING = 5  # the newest jobs wait for files that never come
SHOWN = 8  # the jobs before those are looked at by clients: they have a log and results
CHUNK = 500
CHANGE_S = 0.05
LOG_LINES = 300
RESULTS = 12


def fill(settings: Settings, count: int) -> list[int]:
    """Make the database with ``count`` jobs; returns the ids of those that have a folder."""
    database = open_database(settings.database)
    storage = Storage(settings.storage)
    storage.prepare()
    write_identity(settings.storage, installation_id(settings.home))
    rows = _rows(count, random.Random(1), time.time())
    with database.atomic():
        while chunk := [row for _, row in zip(range(CHUNK), rows, strict=False)]:
            Job.insert_many(chunk).execute()
    database.execute_sql("DELETE FROM unwritten")  # a controller has kept up with them since
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shown = list(Job.select().order_by(Job.id.desc()).offset(WAITING).limit(min(SHOWN, count - WAITING)))
    for job in shown:
        _fill_folder(storage, job)
    database.close()
    return [job.id for job in shown]


def _rows(count: int, rng: random.Random, now: float) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        waits = number > count - WAITING
        created = now if waits else now - DAYS * 86400 * (count - number + 1) / count
        owner, app = rng.choice(OWNERS), rng.choice(APPS)
        state = JobState.UPLOADING if waits else rng.choice(ENDS)
        started = created + rng.uniform(30, 7200)
        ended = started + rng.uniform(60, 20000)
        yield {
            "owner": owner,
            "app": app,
            "flavor": rng.choice(("m1.4xlarge", "m1.8xlarge")),
            "weight": 1,
            "description": " ".join(rng.sample(WORDS, 5)) + f" n{number}",
            "settings": json.dumps({f"parameter_{key}": str(rng.random()) for key in range(30)}),
            "inputs": "\n".join(f"{owner[:3].upper()}_{number:06}_{part}.raw" for part in range(rng.randint(1, 6))),
            "folder": folder_name(number, owner, app, created),
            "state": state,
            "state_since": created if waits else ended,
            "outcome": "" if waits else state,
            "message": "The app failed." if state is JobState.FAILED else "",
            "created": created,
            "started": None if waits else started,
            "ended": None if waits else ended,
            "kept_bytes": None if waits else 0,  # as the controller has measured it
        }


def _fill_folder(storage: Storage, job: Job) -> None:
    folder = storage.folder(job.folder)
    folder.create(job.settings)
    line = "[INFO] 2025-09-18 08:57:45 UTC;CPU:12.3%;RAM:45.6%\nspectrum <{0}> & its 17 candidates were scored\n"
    (folder.path / ".cumulus.log").write_text("".join(line.format(number) for number in range(LOG_LINES)))
    for number in range(RESULTS):
        (folder.output / f"result_{number}.tsv").write_text("x" * number)


def change(path: Path) -> None:
    """Archive a finished job every 50 ms, newest first, until ended; where none is left, note something about the first."""
    open_database(path)
    while True:
        job = Job.select(Job.id).where(Job.state == JobState.DONE).order_by(Job.id.desc()).first()
        change = Change(time.time(), text="bench")
        if job:
            transition(Job, job.id, JobState.DONE, JobState.ARCHIVED, change)
        else:
            record_event(Job, 1, change)
        time.sleep(CHANGE_S)


if __name__ == "__main__":
    change(Path(sys.argv[1]))
