"""Conversions that jobs have in common: one job converts, the others wait for it and take the result.

Owns the rows that say which job needs which result. There are no claims: a job that has a machine and needs a missing result is
making it.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog
from peewee import chunked

from server.catalog.values import InputFile
from server.db.models import Conversion, Job
from server.db.transactions import exclusive
from server.states import JobState
from server.storage.conversions import commands, conversion
from server.storage.converted import Converted, conversion_key
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.inspection import is_mzml, is_read
from server.storage.inputs.pins import Pin, Pinned, pinned_for, state_of
from server.storage.job_folder.run_plan import PlannedInput
from server.storage.paths import PRIVATE_PREFIX

_MAKING = (JobState.PROVISIONING, JobState.STARTING, JobState.RUNNING, JobState.LOST)
_FINAL = [state for state in JobState if state.is_final]
_ROWS_AT_ONCE = 1000
_GIVEN = f"{PRIVATE_PREFIX}converted"  # in a job's input
log = structlog.get_logger()


class ConversionCache:
    """The conversions of one storage's shared input; ``wait_s``: seconds that jobs wait for one that runs."""

    def __init__(self, storage: Storage, wait_s: float) -> None:
        self._converted = Converted(storage.root)
        self._wait_s = wait_s

    def record_needs(self, job_id: int, files: Sequence[InputFile], folder: JobFolder, pinned: Pinned) -> None:
        """Record what the job needs converted, before it waits for a machine."""
        pins = pinned.by_name
        keys = ((number, file.name, _key(file, folder, pins.get(file.name))) for number, file in enumerate(files))
        self._record(job_id, [(number, name, key) for number, name, key in keys if key])

    def plan(self, job_id: int, files: Sequence[InputFile], folder: JobFolder, pinned: Pinned) -> tuple[PlannedInput, ...]:
        """How each file gets to the app: results of earlier conversions are put into the job's input. Records what is left."""
        planned, needed, pins = [], [], pinned.by_name
        for number, file in enumerate(files):
            pin = pins.get(file.name)
            key = _key(file, folder, pin)
            if key and self._converted.give(key, folder, name := _given_name(file, folder)):
                planned.append(planned_input(file, given=name))
                continue
            planned.append(planned_input(file, pin, keep=key is not None))
            if key:
                needed.append((number, file.name, key))
        self._record(job_id, needed)
        return tuple(planned)

    def makers(self, job_id: int, now: float, begun: Sequence[int] = ()) -> list[int]:
        """The jobs with a machine that are making what this one needs, and have not taken too long.

        ``begun``: queued jobs that count as if they had a machine already.
        """
        mine, other = Conversion.alias(), Conversion.alias()
        makes = Job.state.in_(_MAKING) & (Job.state_since > now - self._wait_s)
        if begun:
            makes |= (Job.state == JobState.QUEUED) & Job.id.in_(begun)
        rows = (
            mine.select(mine.key, other.job_id.alias("maker"))
            .join(other, on=(other.key == mine.key) & (other.job_id != mine.job_id))
            .join(Job, on=Job.id == other.job_id)
            .where(mine.job_id == job_id, makes)
            .distinct()
        )
        found: Iterable[tuple[str, int]] = rows.tuples()  # type: ignore[assignment]
        return sorted({maker for key, maker in found if self._converted.find(key) is None})

    def publish(self, job: Job, folder: JobFolder) -> None:
        """Keep what the job's runner has converted so far for other jobs; cheap where there is nothing."""

        def key_of(number: int) -> str | None:
            row = Conversion.get_or_none(Conversion.job_id == job.id, Conversion.number == number)
            known = pinned_for(folder)
            if row is None or known is None or (pin := known.by_name.get(row.name)) is None:
                return None
            return str(row.key) if row.key in _keys_now(folder, pin) else None

        for key in self._converted.publish(folder, job.attempt, key_of):
            log.info("a converted file is kept for other jobs", job_id=job.id, key=key)

    def forget_finished(self) -> None:
        """Drop the rows of jobs that have ended."""
        Conversion.delete().where(Conversion.job_id.in_(Job.select(Job.id).where(Job.state.in_(_FINAL)))).execute()

    def _record(self, job_id: int, needs: list[tuple[int, str, str]]) -> None:
        with exclusive():
            Conversion.delete().where(Conversion.job_id == job_id).execute()
            for part in chunked(
                ({"job_id": job_id, "number": n, "name": name, "key": key} for n, name, key in needs), _ROWS_AT_ONCE
            ):
                Conversion.insert_many(part).execute()


def _key(file: InputFile, folder: JobFolder, pin: Pin | None) -> str | None:
    """The key of the file's result; None where it needs no conversion, or no other job can use it."""
    how, source = conversion(file.name, file.accepts), folder.input / file.name
    if how is None or pin is None or not (file.shared and file.convert):
        return None
    with suppress(OSError):  # a missing or unreadable file is reported elsewhere
        if how.unless_indexed and is_read(source, file.accepts):
            return None
        return _key_now(source, pin, how.command)
    return None


def _keys_now(folder: JobFolder, pin: Pin) -> set[str]:
    """All keys that results made from a pinned file may have."""
    with suppress(OSError):
        return {key for command in commands(pin.name) if (key := _key_now(folder.input / pin.name, pin, command))}
    return set()


def _key_now(source: Path, pin: Pin, command: Sequence[str]) -> str | None:
    """None where it would be unclear later what was converted: a file that no other job has and whose checksum is unknown, or one
    that was changed since. Raises OSError.
    """
    if not (pin.shared or pin.content) or state_of(source) != pin.seen:
        return None
    return conversion_key(source, command, pin.content)


def _given_name(file: InputFile, folder: JobFolder) -> str:
    """Where a result is put in the job's input: beside its source, so under another name."""
    if file.target != file.name:
        return file.target
    Path(folder.input, _GIVEN).mkdir(exist_ok=True)
    return f"{_GIVEN}/{file.target}"


def planned_input(file: InputFile, pin: Pin | None = None, *, keep: bool = False, given: str = "") -> PlannedInput:
    """``given``: where the result of an earlier conversion lies in the job's input."""
    name = file.target if given else file.name
    how = conversion(name, file.accepts) if file.convert or (file.accepts is not None and is_mzml(name)) else None
    common = PlannedInput(
        name=given or file.name,
        shared=False,
        target=how.target if how else name,
        accepts=file.accepts,
        rewrite=how.rewrite if how else None,
        alone=file.alone,
        group=file.parameter,
        expected=None if given or pin is None else pin.expected,
    )
    if how is None or given or not file.convert:
        return common
    return replace(common, convert=how.command, unless_indexed=how.unless_indexed, keep=keep)
