"""What people and programs see of an upload."""

from dataclasses import dataclass
from typing import Any

from server.db.models import Upload
from server.states import UploadState

CONTINUED = (UploadState.RECEIVING, UploadState.COMPLETE)
FAILED = (UploadState.REFUSED, UploadState.EXPIRED)


@dataclass(frozen=True)
class UploadView:
    """One upload. ``length``, ``offset``: bytes; times in Unix seconds; ``place``: relative to the storage, "" until it is there.

    ``shared``: it is for everybody's use, else for its job's; ``sha256``: of its content, as far as that is known.
    """

    id: str
    owner: str
    filename: str
    job: int | None
    shared: bool
    length: int
    offset: int
    sha256: str
    state: UploadState
    created: float
    expires: float | None
    place: str
    message: str

    @property
    def is_whole(self) -> bool:
        """Whether the file has its place in the storage."""
        return self.state is UploadState.DONE


def view_of(row: Upload) -> UploadView:
    """The view of a row."""
    state = UploadState(row.state)
    return UploadView(
        id=row.id,
        owner=row.owner,
        filename=row.name,
        job=row.job_id,
        shared=bool(row.shared),
        length=row.length,
        offset=row.received,
        sha256=row.digest or row.sha256,
        state=state,
        created=row.created,
        expires=row.expires if state in CONTINUED else None,
        place=row.place,
        message=row.message,
    )


def upload_json(view: UploadView) -> dict[str, Any]:
    """An upload for programs."""
    return {**vars(view), "state": str(view.state)}
