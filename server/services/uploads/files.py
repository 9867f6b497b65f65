"""The shared files as people see them over the network: which there are, whose, their content, their removal, quotas.

Whoever may log in sees and reads all shared files; who has sent one by HTTP may remove it. What is removed lies in the trash like
all else. Owns whose a file is: a finished upload's, as long as the file is the one that it has left.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from cumulus_client import storage as api
from server.catalog.files import one_form
from server.db.models import Upload
from server.db.queries import unfinished_jobs
from server.engine.duties.retention import Retention
from server.engine.duties.retention_plan import Removal
from server.engine.duties.trashcan import Trashcan
from server.engine.records.storage_owner import require_own_storage
from server.errors import InvalidInput, NotFound
from server.services.jobs.views import readable, spelled
from server.services.principal import Forbidden, Principal, Role
from server.services.uploads.errors import FileInUse
from server.services.uploads.quotas import StoredQuotas, usage
from server.settings import Settings
from server.states import UploadState
from server.storage.data import Entry, entry_of, find
from server.storage.folders import Storage
from server.storage.job_folder.results import content_tag
from server.storage.paths import PRIVATE_PREFIX, base_name, inside
from server.storage.regular import open_regular


class StoredFiles:
    """The shared files of one installation, whose database is open. ``clock``: Unix seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._storage = Storage(settings.storage)
        self._clock = clock
        self._retention = Retention(self._storage, settings.data_max_age_days, Trashcan(self._storage, settings.trash_days))

    def listed(self, principal: Principal, asked: api.FilesQuery) -> api.StoredFiles:
        """A page of a folder. Raises Forbidden, InvalidInput, NotFound, OSError where the storage is away."""
        principal.require(Role.USER)
        folder, below = self._storage.data, ""
        if asked.path:
            folder = self._resolved(asked.path)
            below = f"{folder.relative_to(self._storage.data.resolve())}/"
            if not folder.is_dir():
                raise InvalidInput(f"{asked.path!r} is no folder", field="path")
        names = self._names(folder, asked.name, is_top=not below)
        page = [name for name in names if spelled(name) > asked.cursor][: asked.limit + 1]
        found = [entry for name in page[: asked.limit] if (entry := _there(folder / name))]
        owners = {} if below else self._owners(found)
        files = [_view(entry, below, folder, owners) for entry in found]
        return api.StoredFiles(files=files, next=spelled(page[asked.limit - 1]) if len(page) > asked.limit else "")

    def file(self, principal: Principal, path: str) -> tuple[BinaryIO, str]:
        """A file, open, and its name. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.USER)
        found = self._resolved(path)
        try:
            return open_regular(found), "".join(char if char.isprintable() else "_" for char in readable(found.name))
        except OSError:
            raise NotFound(f"there is no shared file {path!r}", field="path") from None

    def remove(self, principal: Principal, path: str) -> str:
        """Move a shared file into the trash; returns a sentence.

        Raises Forbidden where it is not the principal's alone, NotFound, InvalidInput, FileInUse while a job that has not ended
        wants it, StorageNotOurs.
        """
        principal.require(Role.USER)
        require_own_storage(self._settings)
        found = find(self._storage.data, base_name(os.fsdecode(unquote_to_bytes(path)), field="path"))
        entry = _there(found) if found and not found.name.startswith(".") else None
        if found is None or entry is None:
            raise NotFound(f"there is no shared file {path!r}", field="path")
        self._require_own(principal, entry)
        self._require_unused(entry.name)
        removal = Removal("data", entry.name, entry.bytes, f"removed by {principal.name}", by_age=False)
        if not self._retention.remove([removal], self._clock()):
            self._require_unused(entry.name)
            raise FileInUse(f"{readable(entry.name)} could not be removed: the log of the controller says why", field="path")
        gone = {"state": UploadState.GONE, "ended": self._clock()}
        if entry.name.isprintable():
            Upload.update(gone).where(Upload.state == UploadState.DONE, Upload.place == f"data/{entry.name}").execute()
        days = self._settings.trash_days
        return f"{readable(entry.name)} is removed" + (f"; for {days:g} days it can be restored from the trash" if days else "")

    def quota(self, principal: Principal) -> api.Quota:
        """How much the principal stores, and may store. Raises Forbidden."""
        principal.require(Role.USER)
        quotas = StoredQuotas(self._settings.default_user_quota_gb)
        limits = list(quotas.limits(principal.name))
        groups = [
            api.GroupQuota(group=limit.group, used_bytes=usage(limit.owners), limit_bytes=limit.bytes)
            for limit in limits
            if limit.group
        ]
        return api.Quota(
            owner=principal.name,
            used_bytes=usage((principal.name,)),
            limit_bytes=min((limit.bytes for limit in limits if not limit.group), default=None),
            groups=groups,
            left_bytes=None if (room := quotas.room(principal.name)) is None else max(0, room),
        )

    def _resolved(self, path: str) -> Path:
        """A path below the shared data. A % begins a byte; where there is no such file, it is a letter of the name."""
        try:
            return inside(self._storage.data, os.fsdecode(unquote_to_bytes(path)))
        except NotFound:
            return inside(self._storage.data, path)

    def _names(self, folder: Path, name: str, *, is_top: bool) -> list[str]:
        """The names in a folder that are shown, by how a URL spells them; ``name``: only this one."""
        if name:
            found = find(folder, base_name(name))
            names = [found.name] if found else []
        else:
            names = os.listdir(folder)  # noqa: PTH208  # names alone, of which there may be many
        hidden = "." if is_top else PRIVATE_PREFIX
        return sorted((one for one in names if not one.startswith(hidden)), key=spelled)

    def _owners(self, entries: Iterable[Entry]) -> dict[str, list[str]]:
        """Who has sent which of these files at the top, as long as they are what was sent."""
        places = {f"data/{entry.name}": entry for entry in entries if entry.name.isprintable()}
        rows = Upload.select(Upload.owner, Upload.place, Upload.length, Upload.modified_ns).where(
            Upload.state == UploadState.DONE, ~Upload.stored, Upload.place.in_(list(places))
        )
        owners: dict[str, list[str]] = {}
        for row in rows.order_by(Upload.ended) if places else ():
            if self._is_as_sent(row):
                owners.setdefault(row.place.removeprefix("data/"), []).append(row.owner)
        return owners

    def _is_as_sent(self, row: Upload) -> bool:
        """Whether the file is the one that the upload has left: others may have put another one there since."""
        try:
            found = (self._storage.root / row.place).lstat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (row.length, row.modified_ns)

    def _require_own(self, principal: Principal, entry: Entry) -> None:
        """Raises Forbidden."""
        if principal.is_administrator:
            return
        owners = self._owners([entry]).get(entry.name, [])
        name = readable(entry.name)
        if not owners:
            raise Forbidden(f"nobody has sent {name} by HTTP: only an administrator may remove it", field="path")
        if others := [owner for owner in owners if not principal.may_use(owner)]:
            raise Forbidden(f"{name} was sent by {others[0]}: only {others[0]} or an administrator may remove it", field="path")

    def _require_unused(self, name: str) -> None:
        """Raises FileInUse."""
        wanted = one_form(name)
        for job in unfinished_jobs():
            if wanted in map(one_form, job.inputs.split("\n")):
                raise FileInUse(f"{readable(name)} is wanted by a job that is {job.state}", field="path")


def _there(path: Path) -> Entry | None:
    """A file or folder; None where it is gone, or a link or device."""
    try:
        entry = entry_of(path)
    except OSError:
        return None
    return entry if entry.known else None


def _view(entry: Entry, below: str, folder: Path, owners: dict[str, list[str]]) -> api.StoredFile:
    path, status = f"{below}{entry.name}", _status(folder / entry.name)
    is_file = status is not None and not (folder / entry.name).is_dir()
    return api.StoredFile(
        path=readable(path),
        size=entry.bytes,
        url=quote(spelled(path)),
        tag=content_tag(status) if status and is_file else "",
        kind="file" if is_file else "folder",
        modified=status.st_mtime if status and is_file else entry.changed,
        owner=", ".join(dict.fromkeys(owners.get(entry.name, []))),
    )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
