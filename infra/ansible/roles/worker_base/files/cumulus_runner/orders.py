"""What the controller wants done: the plan file, read and checked. Owns its format on this side."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from cumulus_runner.errors import RunnerError


@dataclass(frozen=True)
class Input:
    """One input file. ``shared``: it lies in the data folder, else in the job's own; ``target``: its name for the app.

    ``convert``: a command with ``{source}``, ``{folder}`` and ``{name}`` that makes folder/name of the source.
    ``unless_indexed``: not needed where the source is indexed mzML already. ``keep``: other jobs may want the result, too.
    """

    name: str
    shared: bool
    target: str
    convert: tuple[str, ...] | None
    unless_indexed: bool
    keep: bool


@dataclass(frozen=True)
class Plan:
    """One attempt of one job. ``end_tag``: a regular expression that a successful run leaves in the log, or in a file.

    ``lease_s``: seconds that the machine may go on without a word from the controller; 0: no limit. ``internet``: the app may
    use it.
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
    internet: bool = False


@dataclass(frozen=True)
class Places:
    """A job's folders, absolute. ``job`` is written to; the app sees the same folder as ``shown_job``, maybe read-only.

    ``lease``: the file by which the machine's own timer knows how long it may go on; "" where there is no such timer.
    ``server``: the storage's address; "" where the storage is no other machine's.
    """

    job: str
    shown_job: str
    data: str
    work: str
    lease: str = ""
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
        internet=values.get("internet") is True,
    )


def _input(values: dict[str, Any]) -> Input:
    convert = values.get("convert")
    return Input(
        name=_inside(values["name"]),
        shared=bool(values["shared"]),
        target=_inside(values.get("target") or values["name"]),
        convert=tuple(str(word) for word in convert) if convert else None,
        unless_indexed=bool(values.get("unless_indexed", False)),
        keep=bool(values.get("keep", False)),
    )


def _inside(name: str) -> str:
    """A relative path that stays below its folder."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"no name for an input file: {name!r}")
    return name
