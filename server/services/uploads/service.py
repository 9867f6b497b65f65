"""Uploads: who may begin one and for what, how far it is, its parts, its end. What the tus protocol makes of it is the API's."""

import errno
from collections.abc import Callable

from peewee import SqliteDatabase

from server.catalog.apps import Catalog
from server.db.models import Upload
from server.errors import InvalidInput, NotFound
from server.services.principal import Principal, Role
from server.services.uploads.creation import Creation, read_sha256
from server.services.uploads.errors import NoRoom, TooLong, UploadGone, WrongOffset
from server.services.uploads.jobs import WaitingJobs
from server.services.uploads.landing import Landing
from server.services.uploads.quotas import Quotas
from server.services.uploads.receiving import Body, Checksum, Receiving
from server.services.uploads.views import CONTINUED, UploadView, view_of
from server.settings import Settings
from server.states import UploadState
from server.storage.folders import Storage
from server.storage.inputs.partials import PartialLost, Partials

LISTED = 1000
FULL = (errno.ENOSPC, errno.EDQUOT)


class UploadService:
    """The uploads of one installation; the database is open. ``relieve``: empties the trash until so many bytes are free."""

    def __init__(
        self,
        database: SqliteDatabase,
        settings: Settings,
        catalog: Catalog,
        storage: Storage,
        quotas: Quotas,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
        relieve: Callable[[float], None] = lambda _bytes: None,
    ) -> None:
        self._storage = storage
        self._partials = Partials(storage.root)
        self._receiving = Receiving(self._partials, settings.upload_keep_s, clock)
        self._jobs = WaitingJobs(catalog, storage, wake)
        self._creation = Creation(database, settings, storage, self._jobs, quotas, clock, relieve)
        self._landing = Landing(storage, self._partials, self._receiving, self._jobs, clock)

    def create(self, principal: Principal, name: str, length: int, job_id: int | None = None, sha256: str = "") -> UploadView:
        """Begin an upload: for the shared data, or for a job of the principal's that waits for files.

        ``length``: bytes; ``sha256``: of the whole file, 64 hexadecimal digits, "" where the sender does not say.
        Raises InvalidInput, NotFound, Forbidden, NotAwaited, UploadExists, NameTaken, QuotaExceeded, NoRoom, before
        any byte is taken.
        """
        principal.require(Role.USER)
        row = self._creation.begin(principal, name, length, job_id, sha256)
        return view_of(row if length else self._landed(row))

    def use_stored(self, principal: Principal, job_id: int, name: str) -> UploadView:
        """Have a job use the file that the storage has under this name, in place of one that is sent.

        Raises InvalidInput, NotFound, NotAwaited, OSError.
        """
        principal.require(Role.USER)
        row = self._creation.of_stored(principal, job_id, name)
        self._jobs.conclude(job_id)
        return view_of(row)

    def get(self, principal: Principal, upload_id: str) -> UploadView:
        """An upload of the principal's, whatever has become of it. Raises NotFound."""
        return view_of(self._row(principal, upload_id, to_change=False))

    def listed(self, principal: Principal, job_id: int | None = None) -> list[UploadView]:
        """The principal's newest uploads; ``job_id``: those for that job. Raises Forbidden."""
        principal.require(Role.USER)
        rows = Upload.select().order_by(Upload.created.desc(), Upload.id).limit(LISTED)
        if job_id is not None:
            rows = rows.where(Upload.job_id == job_id)
        if Role.ADMINISTRATOR not in principal.roles:
            rows = rows.where(Upload.owner == principal.name)
        return [view_of(row) for row in rows]

    def offset(self, principal: Principal, upload_id: str) -> UploadView:
        """How far an upload is, so that it can be continued there. Raises NotFound, UploadGone."""
        self._row(principal, upload_id)
        self._receiving.end_quiet(upload_id)
        row = self._living(principal, upload_id)
        if row.state == UploadState.COMPLETE and not self._receiving.is_written(upload_id):
            with self._receiving.alone(upload_id, _Nothing()):  # a controller was killed there
                row = self._landed(self._living(principal, upload_id))
        return view_of(row)

    def append(
        self, principal: Principal, upload_id: str, offset: int, body: Body, checksum: Checksum | None = None, sha256: str = ""
    ) -> UploadView:
        """Add what comes, at ``offset``, which has to be where the upload is. The file gets its place with its last byte.

        ``sha256``: of the whole file, where the sender did not say it at the beginning.

        Raises NotFound, UploadGone, UploadLocked, WrongOffset, TooLong, BrokenOff (what came is kept), ChunkMismatch,
        ContentMismatch, NameTaken, NotAwaited, OSError.
        """
        self._living(principal, upload_id)
        with self._receiving.alone(upload_id, body):
            row = self._living(principal, upload_id)
            if offset != row.received:
                text = f"the upload is at byte {row.received}, and what was sent begins at {offset}"
                raise WrongOffset(text, field="Upload-Offset", offset=row.received)
            if body.left > row.length - row.received:
                text = f"{body.left} bytes are sent, and the upload lacks {row.length - row.received}"
                raise TooLong(text, field="Content-Length", offset=row.received)
            if digits := read_sha256(sha256, "Upload-Sha256"):
                row.sha256 = row.sha256 or digits
                if row.sha256 != digits:
                    raise InvalidInput("another SHA-256 was announced when the upload began", field="Upload-Sha256")
            if body.left:
                self._receive(row, body, checksum)
            if row.received == row.length and row.state != UploadState.DONE:
                row = self._landed(row)
            return view_of(row)

    def terminate(self, principal: Principal, upload_id: str) -> None:
        """End an upload; nothing of one that was not done stays. A file that is in its place stays there. Raises NotFound."""
        row = self._row(principal, upload_id)
        if row.state in CONTINUED:
            Upload.delete().where(Upload.id == upload_id, Upload.state.in_(CONTINUED)).execute()
            self._receiving.forget(upload_id)
            self._partials.remove(upload_id)
        elif row.state != UploadState.DONE:
            Upload.delete().where(Upload.id == upload_id).execute()

    def finish_interrupted(self) -> None:
        """Bring to their end the uploads in which a controller was killed at the last step. Reads them, so it may take long."""
        self._landing.finish_interrupted()

    def _receive(self, row: Upload, body: Body, checksum: Checksum | None) -> None:
        try:
            self._receiving.receive(row, body, checksum)
        except PartialLost as problem:
            self._landing.refuse(row, f"{row.name}: {problem.strerror}")
            raise UploadGone(f"{problem.strerror}", offset=0) from None
        except OSError as problem:
            if problem.errno in FULL:
                raise NoRoom("the storage is full", offset=row.received) from None
            raise

    def _landed(self, row: Upload) -> Upload:
        try:
            return self._landing.land(row)
        except FileNotFoundError:
            if self._partials.is_there(row.id) or not self._storage.is_there():
                raise
            self._landing.refuse(row, f"{row.name}: what was received of the upload is gone")
            raise UploadGone("what was received of the upload is gone") from None

    def _row(self, principal: Principal, upload_id: str, *, to_change: bool = True) -> Upload:
        row = Upload.get_or_none(Upload.id == upload_id)
        is_own = row is not None and (principal.may_use(row.owner) or (not to_change and _sees(principal, row.owner)))
        if row is None or not is_own:
            raise NotFound("there is no such upload", field="upload")
        return row

    def _living(self, principal: Principal, upload_id: str) -> Upload:
        row = self._row(principal, upload_id)
        if row.state not in (*CONTINUED, UploadState.DONE):
            raise UploadGone(row.message or f"the upload of {row.name} is {row.state}")
        return row


def _sees(principal: Principal, owner: str) -> bool:
    """Whether an upload is the principal's to look at, also by a token for reading alone; teams share jobs, not uploads."""
    return principal.may_see(owner) and (principal.is_administrator or owner == principal.name or owner in principal.managed)


class _Nothing:
    """A body without content."""

    left = 0

    def readinto(self, buffer: memoryview) -> int:  # noqa: ARG002
        """0."""
        return 0

    def quiet_s(self) -> float:
        """Never quiet."""
        return 0.0

    def interrupt(self) -> None:
        """Nothing to end."""
