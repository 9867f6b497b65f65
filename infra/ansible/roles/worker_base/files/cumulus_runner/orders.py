"""What the controller wants done: the plan file, read and checked. Owns its format on this side."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from cumulus_runner.errors import RunnerError

LOG_LIMIT = 512 * 1024 * 1024  # bytes


@dataclass(frozen=True)
class Input:
    """One input file. ``shared``: it lies in the data folder, else in the job's own; ``target``: its name for the app.

    ``convert``: a command with ``{source}``, ``{folder}`` and ``{name}`` that makes folder/name of the source.
    ``unless_indexed``: not needed where the source is mzML that the app reads. ``keep``: other jobs may want the result, too.
    ``accepts``: what the app reads of what a file may have (docs/apps.md), None: what most programs do. ``rewrite``: a command
    like ``convert`` that makes mzML of mzML which the app does not read. ``alone``: where it cannot be used, the job goes on with
    the others of its ``group``. ``expected``: the checksum that the source must have, ``sha256:…``; None where nobody knows.
    """

    name: str
    shared: bool
    target: str
    convert: tuple[str, ...] | None
    unless_indexed: bool
    keep: bool
    accepts: tuple[str, ...] | None = None
    rewrite: tuple[str, ...] | None = None
    alone: bool = False
    group: str = ""
    expected: str | None = None


@dataclass(frozen=True)
class Run:
    """One run of the app: with the input ``name`` alone, which is ``target`` for the app, by the shell text ``command``."""

    name: str
    target: str
    command: str


@dataclass(frozen=True)
class Plan:
    """One attempt of one job. ``end_tag``: a regular expression that a successful run leaves in the log, or in a file.

    ``lease_s``: seconds that the machine may go on without a word from the controller; 0: no limit. ``results_wait_s``: how long
    its end waits for room in a full storage. ``log_limit``: bytes of the app's lines in the log. ``reserve``: bytes of a disk
    that a growing log leaves free, or a hundredth of it if that is less.
    ``runs``: where the app runs file by file; else it runs once, by the command in the folder. ``app``: its name for people.
    ``stall_timeout_s``: seconds that a program may do nothing, ``max_tasks``: its processes and threads; 0: any number.
    ``input_error_codes``, ``input_error``: exit codes of the app, and a regular expression for a line of it, that mean a bad
    input. ``summary``: a regular expression for a line of the app; its named groups are figures. ``summary_command``: shell text
    that prints more. ``warn_if_zero``: the names of figures that the job's owner is warned of where they are 0.
    ``internet``: the app may use it.
    """

    job_id: int
    attempt: int
    worker: str
    cpus: int
    inputs: tuple[Input, ...]
    copy_inputs: bool
    end_tag: str | None
    end_tag_location: str | None
    lease_s: float = 0.0
    results_wait_s: float = 0.0
    log_limit: int = LOG_LIMIT
    reserve: int = 0
    runs: tuple[Run, ...] = ()
    app: str = "the app"
    stall_timeout_s: float = 0.0
    max_tasks: int = 0
    input_error_codes: tuple[int, ...] = ()
    input_error: str = ""
    summary: str = ""
    summary_command: str = ""
    warn_if_zero: tuple[str, ...] = ()
    internet: bool = False


@dataclass(frozen=True)
class Places:
    """A job's folders, absolute. ``job`` is written to; the app sees the same folder as ``shown_job``, maybe read-only.

    ``lease``: the file by which the machine's own timer knows how long it may go on; "" where there is no such timer.
    ``group``: a control group of this job and the runner alone; "" where there is none.
    ``server``: the storage's address; "" where the storage is no other machine's.
    """

    job: str
    shown_job: str
    data: str
    work: str
    lease: str = ""
    group: str = ""
    server: str = ""

    @property
    def input(self) -> str:
        """Where the app finds its input."""
        return os.path.join(self.work, "input")

    @property
    def output(self) -> str:
        """Where the app works and leaves its results."""
        return os.path.join(self.work, "output")

    @property
    def temp(self) -> str:
        """For whatever is not to be kept."""
        return os.path.join(self.work, "temp")

    @property
    def log(self) -> str:
        """The log as it is written; the storage gets a copy."""
        return os.path.join(self.work, "log")


def read_plan(places: Places) -> Plan:
    """The job's plan. Raises RunnerError where there is none that can be followed."""
    path = os.path.join(places.job, ".cumulus.plan")
    try:
        with open(path, encoding="utf-8") as file:
            return _plan(json.load(file))
    except OSError as problem:
        raise RunnerError(f"the job's folder has no plan: {problem.strerror}: {path}") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise RunnerError(f"the job's plan is not usable: {type(problem).__name__}: {problem}") from None


def _plan(values: dict[str, Any]) -> Plan:
    return Plan(
        job_id=int(values.get("job_id", 0)),
        attempt=int(values["attempt"]),
        worker=str(values.get("worker", "")),
        cpus=max(1, int(values.get("cpus", 1))),
        inputs=tuple(_input(one) for one in values.get("inputs", ())),
        copy_inputs=bool(values.get("copy_inputs", False)),
        end_tag=values.get("end_tag") or None,
        end_tag_location=values.get("end_tag_location") or None,
        lease_s=max(0.0, float(values.get("lease_s", 0.0))),
        results_wait_s=max(0.0, float(values.get("results_wait_s", 0.0))),
        log_limit=max(0, int(values.get("log_limit", LOG_LIMIT))),
        reserve=max(0, int(values.get("reserve", 0))),
        runs=tuple(_run(one) for one in values.get("runs", ())),
        app=str(values.get("app") or "the app"),
        stall_timeout_s=max(0.0, float(values.get("stall_timeout_s", 0.0))),
        max_tasks=max(0, int(values.get("max_tasks", 0))),
        input_error_codes=tuple(int(code) for code in values.get("input_error_codes", ())),
        input_error=str(values.get("input_error") or ""),
        summary=str(values.get("summary") or ""),
        summary_command=str(values.get("summary_command") or ""),
        warn_if_zero=tuple(str(name) for name in values.get("warn_if_zero", ())),
        internet=values.get("internet") is True,
    )


def _run(values: dict[str, Any]) -> Run:
    return Run(str(values["name"]), _inside(values["target"]), str(values["command"]))


def _input(values: dict[str, Any]) -> Input:
    accepts = values.get("accepts")
    return Input(
        name=_inside(values["name"]),
        shared=bool(values["shared"]),
        target=_inside(values.get("target") or values["name"]),
        convert=_words(values.get("convert")) or None,
        unless_indexed=bool(values.get("unless_indexed", False)),
        keep=bool(values.get("keep", False)),
        accepts=None if accepts is None else _words(accepts),
        rewrite=_words(values.get("rewrite")) or None,
        alone=bool(values.get("alone", False)),
        group=str(values.get("group") or ""),
        expected=str(values["expected"]) if values.get("expected") else None,
    )


def _words(values: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in values or ())


def _inside(name: str) -> str:
    """A relative path that stays below its folder."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"no name for an input file: {name!r}")
    return name
