"""Uploads by HTTP that nobody continues are given up, and what owners store is counted: from the rows that quotas are sums of."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from peewee import fn

from server.catalog.files import one_form
from server.db.models import Job, JobBytes, Upload
from server.db.upsert import replace_row
from server.engine.duties.timekeeping import DAY_S
from server.states import JobState, UploadState
from server.storage.folders import Storage
from server.storage.inputs.partials import Partials

REMEMBERED_S = DAY_S  # so long an upload that ended badly can be asked for
MEASURED_AGAIN_S = 600.0  # the folder of a job that has not ended
MEASURING_S, MEASURED_AT_ONCE = 5.0, 1000  # the rest at the next inspection
_LIVING = (UploadState.RECEIVING, UploadState.COMPLETE)
_WITHOUT_CONTENT = (JobState.ARCHIVED, JobState.DELETED)
log = structlog.get_logger()


class UploadUpkeep:
    """That of one installation. ``clock``: Unix seconds."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._partials = Partials(storage.root)
        self._clock = clock

    def keep_up(self) -> None:
        """One inspection. Blocks; what is left over is done at the next."""
        if not self._storage.is_there():
            return
        now = self._clock()
        self._expire(now)
        self._forget(now)
        self._remove_left_over(now)
        self._notice_gone()
        self._measure(now)

    def _expire(self, now: float) -> None:
        """End uploads that were not continued in time, and those whose job no longer waits."""
        waits = Job.select().where(Job.id == Upload.job_id, Job.state == JobState.UPLOADING)
        is_late = (Upload.state == UploadState.RECEIVING) & (Upload.expires < now)
        is_in_vain = Upload.state.in_(_LIVING) & Upload.job_id.is_null(False) & ~fn.EXISTS(waits)
        for row in list(Upload.select().where(is_late | is_in_vain)):
            text = "nobody has continued it in time" if row.expires < now else f"job {row.job_id} no longer waits for it"
            ended = {"state": UploadState.EXPIRED, "message": f"{row.name}: {text}", "ended": now}
            still = (Upload.id == row.id, Upload.state == row.state, Upload.received == row.received)
            if Upload.update(ended).where(*still).execute():
                self._partials.remove(row.id)
                log.info("an upload is given up", upload=row.id, owner=row.owner, reason=text)

    def _forget(self, now: float) -> None:
        ended = Upload.state.in_((UploadState.EXPIRED, UploadState.REFUSED, UploadState.GONE))
        Upload.delete().where(ended, Upload.ended < now - REMEMBERED_S).execute()
        removed = Job.select(Job.id).where(Job.id == Upload.job_id, Job.state.in_(_WITHOUT_CONTENT))
        is_own = Upload.place.startswith("jobs/") | Upload.stored
        Upload.delete().where(Upload.state == UploadState.DONE, is_own, fn.EXISTS(removed)).execute()

    def _remove_left_over(self, now: float) -> None:
        """Files that no row knows, of a database that was lost, say."""
        for upload_id in self._partials.left_before(now - DAY_S):
            if not Upload.select().where(Upload.id == upload_id, Upload.state.in_(_LIVING)).exists():
                self._partials.remove(upload_id)

    def _notice_gone(self) -> None:
        """Shared files that are no longer there count for nobody."""
        try:
            there = {one_form(name) for name in os.listdir(self._storage.data)}  # noqa: PTH208  # names are all that is needed
        except OSError:
            return
        shared = Upload.select(Upload.id, Upload.place).where(Upload.state == UploadState.DONE, Upload.place.startswith("data/"))
        gone = [row.id for row in shared if one_form(row.place.removeprefix("data/")) not in there]
        for upload_id in gone:
            Upload.update(state=UploadState.GONE, ended=self._clock()).where(
                Upload.id == upload_id, Upload.state == UploadState.DONE
            ).execute()

    def _measure(self, now: float) -> None:
        removed = Job.select(Job.id).where(Job.state.in_(_WITHOUT_CONTENT))
        JobBytes.delete().where(JobBytes.job_id.in_(removed)).execute()
        until = time.monotonic() + MEASURING_S
        has_grown = Job.ended.is_null() & (JobBytes.at < now - MEASURED_AGAIN_S)
        unmeasured = JobBytes.at.is_null() | has_grown | (JobBytes.at < Job.ended)
        found = (
            Job.select(Job.id, Job.owner, Job.folder)
            .left_outer_join(JobBytes, on=(JobBytes.job_id == Job.id))
            .where(Job.state.not_in(_WITHOUT_CONTENT), unmeasured)
            .order_by(Job.id.desc())
        )
        for job in list(found.limit(MEASURED_AT_ONCE)):
            folder = self._storage.folder(job.folder).path
            replace_row(JobBytes, job_id=job.id, owner=job.owner, bytes=bytes_of(folder), at=now)
            if time.monotonic() > until:
                break


def bytes_of(folder: Path) -> int:
    """Bytes of the files below a folder that have no other name: what has one counts where it was sent to."""
    total, places = 0, [str(folder)]
    while places:
        try:
            with os.scandir(places.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        places.append(entry.path)
                    elif (status := entry.stat(follow_symlinks=False)).st_nlink == 1:
                        total += status.st_size
        except OSError:  # it is removed meanwhile
            continue
    return total
