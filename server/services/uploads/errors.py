"""What can be wrong with an upload, each with the HTTP status that the tus protocol or its nature gives it."""

from server.errors import CumulusError


class UploadError(CumulusError):
    """``hint``: what to do about it; ``offset``: how far the upload is, where that helps."""

    hint = ""

    def __init__(self, message: str, *, field: str | None = None, offset: int | None = None) -> None:
        super().__init__(message, field=field)
        self.offset = offset


class WrongOffset(UploadError):
    """What was sent does not continue where the upload is."""

    code = "wrong_offset"
    http_status = 409
    hint = "ask for the offset (HEAD) and send from there"


class UploadLocked(UploadError):
    """Another request writes to the upload at this moment."""

    code = "upload_locked"
    http_status = 423
    hint = "try again in a second; only one request may send at a time"


class UploadGone(UploadError):
    """The upload has ended, and not well."""

    code = "upload_gone"
    http_status = 410
    hint = "begin a new upload"


class BrokenOff(UploadError):
    """Less came than was announced. What came is kept."""

    code = "broken_off"
    http_status = 503
    hint = "ask for the offset (HEAD) and send from there"


class ChunkMismatch(UploadError):
    """A part is not what its checksum says. Nothing of it is kept. 460 is the protocol's own number."""

    code = "checksum_mismatch"
    http_status = 460
    hint = "send this part again"


class ContentMismatch(UploadError):
    """The whole file is not what its checksum says."""

    code = "content_mismatch"
    http_status = 422
    hint = "begin a new upload; if it happens again, look whether the file is being written, or the checksum is another file's"


class NameTaken(UploadError):
    """The shared data have another file of that name, and no job could keep this one."""

    code = "name_taken"
    http_status = 409
    hint = "rename the file, or send it for a job, which then keeps its own"


class UploadExists(UploadError):
    """The same file is on its way to the same job already."""

    code = "upload_exists"
    http_status = 409
    hint = "continue that upload, or delete it"


class NotAwaited(UploadError):
    """The job does not wait for such a file."""

    code = "not_awaited"
    http_status = 409


class FileInUse(UploadError):
    """A job that has not ended wants the shared file."""

    code = "file_in_use"
    http_status = 409
    hint = "try again when that job has ended, or cancel it"


class QuotaExceeded(UploadError):
    """The owner may not store so much."""

    code = "quota_exceeded"
    http_status = 413
    hint = "delete jobs that are no longer needed, or ask who runs this installation"


class TooLong(UploadError):
    """More is sent than the upload's length."""

    code = "too_long"
    http_status = 413


class NoRoom(UploadError):
    """The storage is too full."""

    code = "storage_full"
    http_status = 507
    hint = "try again when there is room; who runs this installation can make some"
