"""How an upload begins: whether it may come, and its row. Nothing is taken before all of this is right."""

import re
from collections.abc import Callable
from secrets import token_hex

from peewee import SqliteDatabase, fn

from server.catalog.files import OWN_PREFIXES, one_form
from server.db.models import Upload
from server.db.transactions import exclusive
from server.errors import InvalidInput
from server.services.principal import Principal
from server.services.uploads.errors import NameTaken, NoRoom, QuotaExceeded, UploadExists
from server.services.uploads.jobs import WaitingJobs
from server.services.uploads.landing import name_taken
from server.services.uploads.quotas import GB, Quotas
from server.services.uploads.views import CONTINUED
from server.settings import Settings
from server.states import UploadState
from server.storage.data import find
from server.storage.folders import Storage
from server.storage.inputs.checksums import content_sha256
from server.storage.paths import base_name

MAX_BYTES = 1 << 50
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MARKUP = re.compile(r"<[A-Za-z/!?]")  # as for the files of a form: clients put names into pages as they are


class Creation:
    """New uploads of one installation. ``relieve``: empties the trash until so many bytes are free."""

    def __init__(
        self,
        database: SqliteDatabase,
        settings: Settings,
        storage: Storage,
        jobs: WaitingJobs,
        quotas: Quotas,
        clock: Callable[[], float],
        relieve: Callable[[float], None],
    ) -> None:
        self._database = database
        self._min_free = settings.min_free_gb * GB
        self._keep_s = settings.upload_keep_s
        self._storage = storage
        self._jobs = jobs
        self._quotas = quotas
        self._clock = clock
        self._relieve = relieve

    def begin(self, principal: Principal, name: str, length: int, job_id: int | None, sha256: str) -> Upload:
        """The row of a new upload. Raises as :meth:`UploadService.create`."""
        _require_name(name)
        if not 0 <= length <= MAX_BYTES:
            raise InvalidInput(f"a file has from 0 to {MAX_BYTES} bytes", field="Upload-Length")
        sha256 = read_sha256(sha256, "sha256")
        self._storage.require_own()
        owner, shared = principal.name, True
        if job_id is not None:
            job = self._jobs.require(principal, job_id)
            file = self._jobs.awaited(job, name)
            name, owner, shared = file.name, job.owner, file.shared
        elif name.startswith("."):
            raise InvalidInput(f"{name!r} is a hidden name: shared files have none", field="filename")
        elif self._is_taken(name, length):
            raise NameTaken(name_taken(name), field="filename")
        if self._lacking(length):
            self._relieve(self._needed(length))
        return self._added(Upload(owner=owner, name=name, length=length, job_id=job_id, shared=shared, sha256=sha256))

    def of_stored(self, principal: Principal, job_id: int, name: str) -> Upload:
        """The row of a file that the storage has. Raises as :meth:`UploadService.use_stored`."""
        _require_name(name)
        job = self._jobs.require(principal, job_id)
        file = self._jobs.awaited(job, name)
        found = find(self._storage.data, name)
        if not file.shared or found is None or found.is_symlink() or not found.is_file():
            raise InvalidInput(f"the storage has no shared file {name!r}", field="filename")
        status, digest = found.lstat(), content_sha256(found)
        row = self._new(Upload(owner=job.owner, name=file.name, length=status.st_size, job_id=job_id, shared=True, stored=True))
        row.received, row.digest, row.state, row.ended = status.st_size, digest, UploadState.DONE, self._clock()
        row.place, row.modified_ns = f"data/{found.name}", status.st_mtime_ns
        row.save(force_insert=True)
        return row

    def _is_taken(self, name: str, length: int) -> bool:
        """Whether the shared data have something of that name that this file cannot be."""
        found = find(self._storage.data, name)
        return found is not None and (found.is_symlink() or not found.is_file() or found.stat().st_size != length)

    def _needed(self, length: int) -> float:
        """Bytes that have to be free for a file of that length, beside what is on its way."""
        rest = Upload.select(fn.SUM(Upload.length - Upload.received)).where(Upload.state.in_(CONTINUED)).scalar() or 0
        return self._min_free + length + float(rest)

    def _lacking(self, length: int) -> bool:
        return self._storage.free_bytes() < self._needed(length)

    def _new(self, row: Upload) -> Upload:
        row.id, row.created = token_hex(16), self._clock()
        row.expires, row.state = row.created + self._keep_s, UploadState.RECEIVING
        return row

    def _added(self, row: Upload) -> Upload:
        """The row of a new upload. Nobody else can take the same room, or the same name for the job, meanwhile."""
        with exclusive(self._database):
            if row.job_id is not None:
                _require_only_one(row)
            if self._lacking(row.length):
                raise NoRoom("the storage is too full for this file", field="Upload-Length")
            room = self._quotas.room(row.owner)
            if room is not None and row.length > room:
                text = f"{row.owner} may store {max(0, room) / GB:.3g} GB more, and the file has {row.length / GB:.3g}"
                raise QuotaExceeded(text, field="Upload-Length")
            self._new(row).save(force_insert=True)
        return row


def read_sha256(text: str, field: str) -> str:
    """A SHA-256 in small hexadecimal digits, "" for none. Raises InvalidInput."""
    digits = text.lower()
    if digits and not _SHA256.fullmatch(digits):
        raise InvalidInput("a SHA-256 has 64 hexadecimal digits", field=field)
    return digits


def _require_name(name: str) -> None:
    """Raises InvalidInput for what cannot be the name of a file in the storage."""
    base_name(name, field="filename")
    if name.startswith(OWN_PREFIXES) or not name.isprintable() or _MARKUP.search(name):
        raise InvalidInput(f"{name!r} cannot be the name of a file in the storage", field="filename")


def _require_only_one(row: Upload) -> None:
    """Raises UploadExists where the same file is on its way to the same job."""
    others = Upload.select(Upload.id, Upload.name).where(Upload.job_id == row.job_id, Upload.state.in_(CONTINUED))
    if found := [other.id for other in others if one_form(other.name) == one_form(row.name)]:
        raise UploadExists(f"{row.name} is on its way to job {row.job_id} already, as upload {found[0]}", field="filename")
