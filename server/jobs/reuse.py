"""Conversions that jobs have in common: one converts, the others wait for it and take what it made.

Owns the rows that say which job needs which result. Nothing is claimed: whoever has a machine and needs a result that is not
there is making it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import structlog
from peewee import chunked

from server.catalog.values import InputFile
from server.models import Conversion, Job
from server.states import JobState
from server.storage.conversions import commands, conversion
from server.storage.converted import Converted, conversion_key
from server.storage.folders import JobFolder, PlannedInput, Storage
from server.storage.inspection import is_mzml, is_read

_MAKING = (JobState.PROVISIONING, JobState.STARTING, JobState.RUNNING, JobState.LOST)
_FINAL = [state for state in JobState if state.is_final]
_ROWS_AT_ONCE = 1000
log = structlog.get_logger()


class Reuse:
    """The conversions of one storage's shared input; ``wait_s``: how long one that runs is waited for."""

    def __init__(self, storage: Storage, wait_s: float) -> None:
        self._data = storage.data
        self._converted = Converted(storage.root)
        self._wait_s = wait_s

    def note_needs(self, job_id: int, files: Sequence[InputFile]) -> None:
        """Record what the job needs converted, before it waits for a machine."""
        keys = ((number, file.name, self._key(file)) for number, file in enumerate(files))
        self._record(job_id, [(number, name, key) for number, name, key in keys if key])

    def plan(self, job_id: int, files: Sequence[InputFile], folder: JobFolder) -> tuple[PlannedInput, ...]:
        """How each file gets to the app: what was converted before is put into the job's own input. Records what is left."""
        planned, needed = [], []
        for number, file in enumerate(files):
            key = self._key(file)
            if key and self._converted.give(key, folder, file.target):
                planned.append(planned_input(file, given=True))
                continue
            planned.append(planned_input(file, keep=key is not None))
            if key:
                needed.append((number, file.name, key))
        self._record(job_id, needed)
        return tuple(planned)

    def must_wait(self, job_id: int, now: float) -> bool:
        """Whether a job with a machine is making what this one needs, and has not been at it for too long."""
        mine, other = Conversion.alias(), Conversion.alias()
        makes = Job.state.in_(_MAKING) & (Job.state_since > now - self._wait_s)
        rows = (
            mine.select(mine.key)
            .join(other, on=(other.key == mine.key) & (other.job_id != mine.job_id))
            .join(Job, on=Job.id == other.job_id)
            .where(mine.job_id == job_id, makes)
            .distinct()
        )
        return any(self._converted.find(row.key) is None for row in rows)

    def publish(self, job: Job, folder: JobFolder) -> None:
        """Take what the job's runner has converted so far; cheap where there is nothing."""

        def key_of(number: int) -> str | None:
            row = Conversion.get_or_none(Conversion.job_id == job.id, Conversion.number == number)
            return None if row is None or row.key not in self._keys_now(row.name) else str(row.key)

        for key in self._converted.publish(folder, job.attempt, key_of):
            log.info("a converted file is kept for other jobs", job_id=job.id, key=key)

    def forget_finished(self) -> None:
        """Drop the records of jobs that are over."""
        Conversion.delete().where(Conversion.job_id.in_(Job.select(Job.id).where(Job.state.in_(_FINAL)))).execute()

    def _key(self, file: InputFile) -> str | None:
        """The key of the file's result; None where it needs no conversion, or is the job's own."""
        if not (file.shared and file.convert):
            return None
        how, source = conversion(file.name, file.accepts), self._data / file.name
        with suppress(OSError):  # what is not there, or cannot be read, is missed elsewhere
            if how is not None and not (how.unless_indexed and is_read(source, file.accepts)):
                return conversion_key(source, how.command)
        return None

    def _keys_now(self, name: str) -> set[str]:
        """All keys that what is made of a file may have."""
        with suppress(OSError):
            return {conversion_key(self._data / name, command) for command in commands(name)}
        return set()

    def _record(self, job_id: int, needs: list[tuple[int, str, str]]) -> None:
        with Conversion._meta.database.atomic("IMMEDIATE"):
            Conversion.delete().where(Conversion.job_id == job_id).execute()
            for part in chunked(
                ({"job_id": job_id, "number": n, "name": name, "key": key} for n, name, key in needs), _ROWS_AT_ONCE
            ):
                Conversion.insert_many(part).execute()


def planned_input(file: InputFile, *, keep: bool = False, given: bool = False) -> PlannedInput:
    """``given``: what was made of the file before lies in the job's own input."""
    source = file.target if given else file.name
    how = conversion(source, file.accepts) if file.convert or (file.accepts is not None and is_mzml(source)) else None
    target, shared = (how.target if how else source), file.shared and not given
    rewrite = how.rewrite if how else None
    common = PlannedInput(source, shared, target, accepts=file.accepts, rewrite=rewrite, alone=file.alone, group=file.parameter)
    if how is None or given or not file.convert:
        return common
    return replace(common, convert=how.command, unless_indexed=how.unless_indexed, keep=keep)
