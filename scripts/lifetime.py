"""The life of a demonstration in a home folder: one at a time, and the next one cleans up after one that was killed.

Owns ``demo.lock``, held while a demonstration runs, and ``demo.json``: its process, the processes it started, the job it
submitted. The lock ends with its process, however that ends; a record without a lock was left by a killed demonstration.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from programs.interruption import shielded
from scripts.children import Child, Process, end, start
from server.home.controller_lock import try_lock

POLL_S = 0.1
END_LIMIT_S = 90.0
Say = Callable[[str], None]


class OpenJob(BaseModel):
    """A job that was submitted and not seen to its end."""

    job_id: int
    owner: str


class Record(BaseModel):
    """What is known of a demonstration. ``since``: Unix seconds; ``children``: name -> process."""

    demo: Process
    since: float
    children: dict[str, Process] = {}
    job: OpenJob | None = None

    def described(self) -> str:
        """Which demonstration it is, for a person."""
        return f"process {self.demo.pid}, since {time.strftime('%H:%M:%S', time.localtime(self.since))}"


class Life:
    """A demonstration that has the home to itself. ``left``: a job that an earlier one did not see to its end."""

    def __init__(self, path: Path, record: Record, left: OpenJob | None) -> None:
        self._path = path
        self._record = record
        self.left = left
        self._write()

    @contextmanager
    def child(
        self,
        name: str,
        command: Sequence[str],
        output: IO[str] | None = None,
        environment: dict[str, str] | None = None,
        end_limit_s: float = END_LIMIT_S,
    ) -> Iterator[Child]:
        """A program that runs within the block and is ended with it. Raises CumulusError where it had to be killed."""
        with shielded() as shield:
            child = start(command, output, environment)
            try:
                self._note_child(name, Process.of(child.pid))
                with shield.lowered():
                    yield child
            finally:
                if child.poll() is None:
                    end(child, name, end_limit_s)
                self._note_child(name, None)

    def submitted(self, job_id: int, owner: str) -> None:
        """A job is on its way; until its end is reported, a killed demonstration leaves it behind."""
        self._record.job = OpenJob(job_id=job_id, owner=owner)
        self._write()

    def job_ended(self) -> None:
        """The job has ended, and so has one that was left."""
        self._record.job = self.left = None
        self._write()

    def close(self) -> None:
        """The demonstration ends; a job that may still run stays known."""
        if self._record.job:
            self._write()
        else:
            self._path.unlink(missing_ok=True)

    def _note_child(self, name: str, process: Process | None) -> None:
        self._record.children.pop(name, None)
        if process:
            self._record.children[name] = process
        self._write()

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_text(self._record.model_dump_json(indent=1) + "\n")
        beside.rename(self._path)


@contextmanager
def one_demo(home: Path, say: Say, now: Callable[[], float] = time.time) -> Iterator[Life]:
    """Reserve the home for one demonstration, once others have ended. First ends what a killed one left, and says so.

    ``now``: Unix seconds.
    """
    with _turn(home, say):
        path = home / "demo.json"
        left = read_record(home)
        if left:
            end_left(left, say)
        job = left.job if left else None
        life = Life(path, Record(demo=Process.this(), since=now(), job=job), job)
        try:
            yield life
        finally:
            life.close()


def wait_for_demo(home: Path, say: Say) -> None:
    """Return when no demonstration runs in this home."""
    with _turn(home, say):
        return


def end_left(record: Record, say: Say) -> None:
    """End the processes of a demonstration that was killed."""
    living = {name: process for name, process in record.children.items() if process.alive}
    if living:
        names = ", ".join(f"{name} (process {process.pid})" for name, process in living.items())
        say(f"an earlier demonstration ({record.described()}) was killed; ending what it left running: {names}")
    for process in living.values():
        process.end(END_LIMIT_S)


def read_record(home: Path) -> Record | None:
    """The note in the home of a demonstration that runs or was killed; None where there is none."""
    try:
        return Record.model_validate_json((home / "demo.json").read_bytes())
    except (OSError, ValidationError):
        return None


@contextmanager
def _turn(home: Path, say: Say) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "demo.lock").open("a") as lock:
        if not try_lock(lock):
            other = read_record(home)
            who = f" ({other.described()})" if other else ""
            say(f"a demonstration runs here already{who}: waiting for its end (Ctrl-C ends the waiting)")
            while not try_lock(lock):
                time.sleep(POLL_S)
        yield
