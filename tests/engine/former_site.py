"""An installation of the former Cumulus server (2.2), made as shared/contract.md and its own tables have it, for tests.

Its storage, its database, and what its server writes into a job's folder: the whole request in ``.cumulus.settings``, a stop file
at the end of each run, links to shared data in ``input/``.
"""

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOBS = """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE, owner TEXT NOT NULL, app_name TEXT NOT NULL, strategy TEXT NOT NULL,
        description TEXT NOT NULL, settings TEXT NOT NULL, status TEXT NOT NULL, host TEXT, creation_date INTEGER,
        start_date INTEGER, end_date INTEGER, stdout TEXT, stderr TEXT, job_dir TEXT, start_after_id INTEGER, workflow_name TEXT,
        last_modified INTEGER)
"""
CREATED = 1_790_000_000
PLOT = "[INFO] 2026-09-21 15:00:00 UTC;CPU:12.3%;RAM:45.6%\n"


@dataclass
class FormerSite:
    """The former's storage and database below one folder."""

    top: Path

    def __post_init__(self) -> None:
        for name in ("data", "jobs", "temp", "bin"):
            (self.storage / name).mkdir(parents=True)
        with self.connected() as database:
            database.execute(JOBS)

    @property
    def storage(self) -> Path:
        """Its ``storage.path``, as it is mounted now."""
        return self.top / "cumulus"

    @property
    def database(self) -> Path:
        """Its ``database.file.path``."""
        return self.top / "cumulus.db"

    def connected(self) -> "closing[sqlite3.Connection]":
        """The database as the former opens it: each statement is a transaction."""
        return closing(sqlite3.connect(self.database, isolation_level=None))

    def shared(self, name: str, content: bytes = b"data") -> Path:
        """A file of the shared data."""
        path = self.storage / "data" / name
        path.write_bytes(content)
        return path

    def add(self, status: str = "DONE", *, folder: bool = True, results: dict[str, str] | None = None, **fields: Any) -> int:
        """A job as it is after so many steps of its life; returns its number. ``fields``: columns that differ from the usual."""
        form = fields.pop("form", {"text": "hello", "seconds": "0", "outcome": "ok"})
        row: dict[str, Any] = {
            "owner": "ada",
            "app_name": "probe_1.0",
            "strategy": "m1.4xlarge",
            "description": "a run of then",
            "settings": form if isinstance(form, str) else json.dumps(form),
            "status": status,
            "host": "",
            "creation_date": CREATED,
            "start_date": CREATED + 60,
            "end_date": None if status in ("PENDING", "PREPARING", "RUNNING", "PAUSED") else CREATED + 3600,
            "stdout": "",
            "stderr": "",
            "start_after_id": "",
            "workflow_name": "",
            "last_modified": 0,
            **fields,
        }
        with self.connected() as database:
            marks = ", ".join("?" for _ in row)
            number = database.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", tuple(row.values())).lastrowid
            assert number is not None
            name = f"Job_{number}_{row['owner']}_{row['app_name']}_{row['creation_date']}"
            job_dir = fields.get("job_dir", f"/cumulus/jobs/{name}")
            database.execute("UPDATE jobs SET job_dir = ? WHERE id = ?", (job_dir, number))
        if folder:
            self.make_folder(self.storage / "jobs" / name, row, results or {"result.txt": "found\n"})
        return number

    def make_folder(self, path: Path, row: dict[str, Any], results: dict[str, str]) -> None:
        """The folder of a job, with all that server and machine left in it."""
        (path / "input").mkdir(parents=True)
        (path / "output").mkdir()
        request = {"username": row["owner"], **{name: row[name] for name in ("app_name", "strategy", "description", "settings")}}
        (path / ".cumulus.settings").write_text(json.dumps(request) + "\n")
        (path / ".cumulus.log").write_text(f"[SERVER] 2026-09-21 14:13:20 UTC - Creating the virtual machine...\nworking\n{PLOT}")
        for name in ("rsync", "stop", "cmd", "pid", "host"):
            (path / f".cumulus.{name}").touch()
        for name, text in results.items():
            target = path / "output" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for file in [*path.rglob("*"), path]:
            os.utime(file, (CREATED, CREATED))

    def folder(self, number: int) -> Path:
        """Where a job's folder lies."""
        return next((self.storage / "jobs").glob(f"Job_{number}_*"))

    def snapshot(self) -> dict[str, tuple[int, int, int, bytes]]:
        """All that there is: inode, mode, time and content of each file, of folders without the content."""
        found = {}
        for path in sorted([*self.top.rglob("*")]):
            kept = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(self.top))] = kept.st_ino, kept.st_mode, kept.st_mtime_ns, content
        return found
