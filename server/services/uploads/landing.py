"""An upload whose bytes are all there: it is checked, gets its place in the storage, and its job continues."""

from collections.abc import Callable, Mapping

import structlog

from programs.errors import explained
from server.db.models import Upload
from server.db.queries import known_job
from server.errors import CumulusError
from server.services.uploads.errors import ContentMismatch, NameTaken, NotAwaited, UploadGone
from server.services.uploads.jobs import WaitingJobs
from server.services.uploads.receiving import Receiving
from server.states import UploadState
from server.storage.folders import Storage
from server.storage.inputs.arrivals import Arrival
from server.storage.inputs.landing import Whole, keep, share
from server.storage.inputs.partials import Partials

log = structlog.get_logger()


class Landing:
    """Those of one installation; each step may be entered again after a crash. ``clock``: Unix seconds."""

    def __init__(
        self, storage: Storage, partials: Partials, receiving: Receiving, jobs: WaitingJobs, clock: Callable[[], float]
    ) -> None:
        self._storage = storage
        self._partials = partials
        self._receiving = receiving
        self._jobs = jobs
        self._clock = clock

    def land(self, row: Upload) -> Upload:
        """Give the file its place; the row as it is then. Only where nobody writes to it.

        Raises ContentMismatch, NameTaken, NotAwaited (the upload has ended then), UploadGone, OSError (it is tried again).
        """
        try:
            if row.state == UploadState.RECEIVING:
                self._complete(row)
            arrival = self._place(row)
        except (ContentMismatch, NameTaken, NotAwaited) as problem:
            self.refuse(row, problem.message)
            raise
        done = {"state": UploadState.DONE, "place": arrival.path, "modified_ns": arrival.modified_ns, "ended": self._clock()}
        self._change(row, UploadState.COMPLETE, done)
        log.info("an upload is there", upload=row.id, owner=row.owner, place=row.place, bytes=row.length)
        if row.job_id is not None:
            self._jobs.conclude(row.job_id)
        return row

    def finish_interrupted(self) -> None:
        """Do so for all uploads in which a controller was killed when their last byte was there. May take long."""
        for row in Upload.select().where(Upload.state == UploadState.COMPLETE):
            try:
                self.land(row)
            except CumulusError as problem:
                log.info("an upload is refused", upload=row.id, detail=problem.message)
            except OSError as problem:
                log.warning("an upload cannot get its place", upload=row.id, detail=explained(problem))
        self._jobs.conclude_all()

    def refuse(self, row: Upload, message: str) -> None:
        """End the upload for a reason that its sender can read; nothing of it stays."""
        ended = {"state": UploadState.REFUSED, "message": message, "ended": self._clock()}
        Upload.update(ended).where(Upload.id == row.id, Upload.state == row.state).execute()
        self._receiving.forget(row.id)
        self._partials.remove(row.id)

    def _complete(self, row: Upload) -> None:
        if not row.length:
            self._partials.make_empty(row.id)
        digest = self._receiving.digest(row)
        if row.sha256 and digest != row.sha256:
            text = f"{row.name}: what came has the SHA-256 {digest}, and {row.sha256} was announced"
            raise ContentMismatch(text, field="sha256")
        self._change(row, UploadState.RECEIVING, {"state": UploadState.COMPLETE, "digest": digest, "sha256": row.sha256})

    def _place(self, row: Upload) -> Arrival:
        whole = Whole(self._partials.path(row.id), row.length, row.digest)
        if row.job_id is None:
            if arrival := share(self._storage, whole, row.name):
                return arrival
            raise NameTaken(name_taken(row.name), field="filename")
        job = known_job(row.job_id)
        if job is None:
            raise NotAwaited(f"job {row.job_id} was deleted", field="job")
        folder = self._jobs.require_waiting(job)
        if row.shared and (arrival := share(self._storage, whole, row.name)):
            return arrival
        return keep(folder, whole, row.name)

    def _change(self, row: Upload, old: UploadState, values: Mapping[str, object]) -> None:
        """Raises UploadGone where it has ended meanwhile."""
        if not Upload.update(values).where(Upload.id == row.id, Upload.state == old).execute():
            raise UploadGone("the upload has ended meanwhile")
        for name, value in values.items():
            setattr(row, name, value)


def name_taken(name: str) -> str:
    """What people read where the storage has another file of that name."""
    return f"the storage has another file called {name}, which is never replaced"
