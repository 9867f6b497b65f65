"""Jobs that follow one another: who belongs to a workflow, and how a later step gets the results of an earlier one.

A step names a result of another as ``%job_dir_N%/output/PATH``, N counted from 0 at the first step of its own chain.
"""

import errno
from collections.abc import Iterable

from server.catalog.controls.control import FormError
from server.catalog.values import InputFile
from server.db.models import Job
from server.errors import CumulusError
from server.states import JobState
from server.storage.folders import Storage
from server.storage.inputs.placing import Allowance, put


def steps_up_to(job: Job) -> list[Job]:
    """The job and all that it follows, the first step first."""
    steps = [job]
    while steps[-1].start_after is not None and (before := Job.get_or_none(Job.id == steps[-1].start_after)):
        steps.append(before)
    return steps[::-1]


def workflow_of(job: Job) -> list[Job]:
    """All steps of the job's workflow, oldest first; the job alone where it belongs to none."""
    if not job.workflow:
        return [job]
    first = next(step for step in steps_up_to(job) if step.workflow == job.workflow and step.owner == job.owner)
    found = {first.id: first}
    newest = [first.id]
    while newest:
        followers = Job.select().where(Job.start_after.in_(newest), Job.workflow == job.workflow, Job.owner == job.owner)
        newest = [follower.id for follower in followers if follower.id not in found]
        found.update({follower.id: follower for follower in followers})
    return [found[number] for number in sorted(found)]


def require_steps(files: Iterable[InputFile], before: Job | None) -> None:
    """Raises InvalidInput where a file should come from a step that the job will not follow, or that will never have it."""
    steps = [] if before is None else steps_up_to(before)
    for file in files:
        if file.result is None:
            continue
        if file.result.step >= len(steps):
            what = f"the job follows only {len(steps)}" if steps else "the job follows no other"
            raise FormError(
                f"{file.title or file.parameter}: the file comes from step {file.result.step}, counted from 0, but {what}",
                field=file.parameter,
            )
        if steps[file.result.step].state == JobState.ARCHIVED:
            raise FormError(f"the results of job {steps[file.result.step].id} are no longer kept", field=file.parameter)


def bring_results(job: Job, files: Iterable[InputFile], storage: Storage, allowance: Allowance) -> list[str]:
    """Pin the results of earlier steps in the job's own input folder; may be repeated. Returns what is missing.

    Raises TakesLong, Unwanted, OSError where the storage is full.
    """
    steps = steps_up_to(job)[:-1]
    missing = []
    for file in files:
        if file.result is None:
            continue
        step = steps[file.result.step]
        try:
            source = storage.folder(step.folder).results.file(file.result.path)
            put(source, storage.folder(job.folder).input, file.name, allowance)
        except (CumulusError, OSError) as problem:
            if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            missing.append(f"{file.result.path} of job {step.id}")
    return missing
