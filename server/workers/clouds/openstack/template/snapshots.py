"""The template's snapshots in Cinder: which there are, which one is promoted, and how they come and go.

All that is known of them is their metadata, so that an erased home loses none: ``cumulus_template`` is the template's name, and
``cumulus_promoted`` when the snapshot was promoted (Unix seconds); the latest counts. So a promotion is one request, and whatever
breaks off, exactly one is promoted. Promoted ones are shared by all installations of that template. One without such a time was
not tried to its end: the next attempt of the installation that made it, ``cumulus_server``, removes it.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from server.errors import CloudError, TemplateMissing
from server.reasons import Reason
from server.workers.clouds.openstack.client.access import Access, look_up
from server.workers.clouds.openstack.waiting import COPYING, QUICK, Limit, Waiting
from server.workers.clouds.smoke_results import AppResult, NoResults, RecordedResults, SmokeResults, short
from server.workers.clouds.smoke_test import Found

if TYPE_CHECKING:
    from openstack.block_storage.v3._proxy import Proxy
    from openstack.block_storage.v3.snapshot import Snapshot as CinderSnapshot
    from openstack.connection import Connection

SERVER_ID, TEMPLATE = "cumulus_server", "cumulus_template"
PROMOTED, BUILD_HASH, PROGRAMS = "cumulus_promoted", "cumulus_recipe", "cumulus_programs"
# How many apps ran, and what each of them said: its command's digest and its version, under the digest of its id.
APPS, APP = "cumulus_apps", "cumulus_app_"
READY = "available"
GOING = frozenset({"deleting", "error_deleting"})
ON_ITS_WAY = frozenset({"creating", "deleting", "backing-up", "unmanaging", "restoring"})
METADATA_LIMIT = 255  # characters of one value
ABANDONED_S = 86_400.0  # no attempt takes as long


@dataclass(frozen=True)
class Kept:
    """One snapshot of the template. ``size_gb``: of its volume; ``created``, ``promoted``: Unix seconds, 0 never."""

    identifier: str
    name: str
    status: str
    size_gb: int
    created: float
    promoted: float
    metadata: dict[str, str]

    @property
    def owner(self) -> str:
        """Id of the installation that made it; "" where nobody wrote it down."""
        return self.metadata.get(SERVER_ID, "")

    @property
    def build_hash(self) -> str:
        """What its template was made from; "" where that was not recorded."""
        return self.metadata.get(BUILD_HASH, "")

    def has_program(self, name: str) -> bool:
        """Whether a machine of it has the program; True where nobody looked."""
        programs = self.metadata.get(PROGRAMS)
        return programs is None or name in programs.split(",")

    @property
    def smoke_results(self) -> SmokeResults:
        """Whose version command succeeded on a machine of it."""
        if APPS not in self.metadata:
            return NoResults()
        told = {name.removeprefix(APP): text.partition(" ") for name, text in self.metadata.items() if name.startswith(APP)}
        return RecordedResults({app: AppResult(command, version) for app, (command, _, version) in told.items()})


class Snapshots:
    """The snapshots of one template. What was seen last is remembered: the loop asks for it at each turn."""

    def __init__(
        self,
        access: Access,
        template: str,
        waiting: Waiting | None = None,
        limit: Limit = COPYING,
        removal: Limit = QUICK,
    ) -> None:
        """``limit``, ``removal``: how long making and removing one may take."""
        self._access = access
        self._template = template
        self._limit = limit
        self._removal = removal
        self._waiting = waiting or Waiting()
        self._lock = threading.Lock()
        self._seen: list[Kept] | None = None

    def look(self) -> list[Kept]:
        """All that are whole, oldest first, asked of the cloud now. Raises CloudError."""
        found = [one for one in self._all() if one.status == READY]
        with self._lock:
            self._seen = found
        return found

    def current(self, *, remembered: bool = False) -> Kept:
        """The promoted one; ``remembered``: as it was at the last look. Raises TemplateMissing, CloudError."""
        with self._lock:
            seen = self._seen
        found = promoted_of(seen if remembered and seen is not None else self.look())
        if found is None:
            raise TemplateMissing(
                f"the cloud has no promoted snapshot of {self._template}: `make template`, then `make snapshot`; "
                "`cumulus snapshot list` shows what there is"
            )
        return found

    def find(self, name: str = "") -> Kept:
        """The one of that name, or the promoted one, as it was at the last look. Raises TemplateMissing, CloudError."""
        with self._lock:
            seen = self._seen
        if not name:
            return self.current(remembered=True)
        for one in seen if seen is not None else self.look():
            if one.name == name:
                return one
        raise TemplateMissing(f"the cloud has no snapshot {name}")

    def make(self, volume_id: str, server_id: str, build_hash: str) -> Kept:
        """Copy the volume, which nothing may write to; returns when the copy is whole. Raises CloudError."""
        name = f"{self._template}-{_next_number(self._all())}"
        metadata = {TEMPLATE: self._template, SERVER_ID: server_id, BUILD_HASH: build_hash}
        identifier = self._ordered(name, volume_id, metadata)
        found = self._waiting.until(lambda: self._settled(identifier), self._limit, f"the snapshot {name} is not ready")
        if found.status != READY:
            raise CloudError(f"the snapshot {name} could not be made: Cinder says {found.status}", Reason.CLOUD_BUSY)
        return found

    def _ordered(self, name: str, volume_id: str, metadata: dict[str, str]) -> str:
        """Its id. An order whose answer was lost may have been carried out: it is looked for, and not sent again."""
        try:
            with self._access.use() as cloud:
                return self._copy(cloud, name, volume_id, metadata)
        except CloudError as problem:
            if not (problem.reason and problem.reason.is_transient):
                raise
            owner = metadata[SERVER_ID]
            for one in self._all():
                if (one.name, one.owner) == (name, owner):
                    return one.identifier
            raise

    def promote(self, one: Kept, now: float) -> None:
        """New workers start from it; running ones keep theirs. ``now``: Unix seconds, after a clock that was set back, too."""
        latest = max((other.promoted for other in self._all()), default=0.0)
        self._write(one, {PROMOTED: f"{max(now, latest + 1):.0f}"})
        self.look()

    def write_found(self, one: Kept, found: Found) -> None:
        """Write down which of the programs that were looked for a machine of it has, and which apps ran there. One request."""
        apps = {f"{APP}{short(app)}": _brief(tried) for app, tried in found.apps.items()}
        programs = {PROGRAMS: text} if len(text := ",".join(found.programs)) <= METADATA_LIMIT else {}
        self._write(one, {**programs, APPS: str(len(apps)), **apps})

    def older(self) -> list[Kept]:
        """Those that one can go back to, oldest first: made before the promoted one, and promoted once themselves."""
        return _older_of(self.look())

    def unfinished(self) -> list[Kept]:
        """Copies that were not promoted, whoever made them and in whatever state, and removals that broke off."""
        return [one for one in self._all() if not one.promoted or one.status in GOING]

    def spare(self, keep: int) -> list[Kept]:
        """All but the newest ``keep``, the promoted one, the one before it, and those that a volume was made from."""
        found = [one for one in self.look() if one.promoted]
        current = promoted_of(found)
        needed = [*found[-keep:], *_older_of(found)[-1:], *([current] if current else [])]
        used = self._used()
        return [one for one in found if one not in needed and one.identifier not in used]

    def remove(self, one: Kept) -> None:
        """Remove it and wait until it is gone; not an error where it is gone already. Raises CloudError."""
        self._waiting.until(lambda: self._settled_or_gone(one.identifier), self._limit, f"{one.name} does not get ready")
        with self._access.use() as cloud:
            self._delete(cloud, one.identifier)
        gone = self._waiting.until(lambda: self._settled_or_gone(one.identifier), self._removal, f"{one.name} is still there")
        if gone:
            raise CloudError(f"the snapshot {one.name} could not be removed: Cinder says {gone}", Reason.CLOUD_BUSY)

    def volumes(self) -> set[str]:
        """Ids of the volumes that a snapshot of this template was made of: Cinder would not remove them."""
        with self._access.use() as cloud:
            return {str(one.volume_id) for one in self._snapshots(cloud)}

    def _used(self) -> set[str]:
        """Ids of the snapshots that a volume was made from. Some storage needs the snapshot while the volume lives."""
        with self._access.use() as cloud:
            return {str(one.snapshot_id) for one in _storage(cloud).volumes(details=True) if one.snapshot_id}

    def _all(self) -> list[Kept]:
        with self._access.use() as cloud:
            found = self._listed(cloud)
        return sorted(found, key=_order)

    def _listed(self, cloud: "Connection") -> list[Kept]:
        return [_kept(one) for one in self._snapshots(cloud)]

    def _snapshots(self, cloud: "Connection") -> "Iterator[CinderSnapshot]":
        for one in _storage(cloud).snapshots(details=True):
            if (one.metadata or {}).get(TEMPLATE) == self._template:
                yield one

    def _copy(self, cloud: "Connection", name: str, volume_id: str, metadata: dict[str, str]) -> str:
        """Begin to make a copy; returns its id."""
        return str(_storage(cloud).create_snapshot(name=name, volume_id=volume_id, metadata=metadata).id)

    def _delete(self, cloud: "Connection", identifier: str) -> None:
        _storage(cloud).delete_snapshot(identifier, ignore_missing=True)

    def _found(self, cloud: "Connection", identifier: str) -> Kept | None:
        """It as it is now; None where it is gone."""
        found = look_up(_storage(cloud).get_snapshot, identifier)
        return None if found is None else _kept(found)

    def _settled(self, identifier: str) -> Kept | None:
        """It, once Cinder does nothing with it any more."""
        with self._access.use() as cloud:
            found = self._found(cloud, identifier)
        if found is None:
            raise CloudError(f"the copy {identifier} is gone: somebody has removed it")
        return None if found.status in ON_ITS_WAY else found

    def _settled_or_gone(self, identifier: str) -> str | None:
        """Its status, "" where it is gone, None while Cinder is at work on it."""
        with self._access.use() as cloud:
            found = self._found(cloud, identifier)
        if found is None:
            return ""
        return None if found.status in ON_ITS_WAY else found.status

    def _write(self, one: Kept, metadata: dict[str, str]) -> None:
        with self._access.use() as cloud:
            _storage(cloud).set_snapshot_metadata(one.identifier, **metadata)


def promoted_of(found: list[Kept]) -> Kept | None:
    """The one of them that workers are made from; None where none was promoted."""
    return max((one for one in found if one.promoted), key=lambda one: one.promoted, default=None)


def is_leftover(one: Kept, server_id: str, now: float) -> bool:
    """Whether an unfinished one is this installation's to remove: another one may be at work on its own. ``now``: Unix seconds.

    What was promoted once belongs to all. One that names no installation goes when it is so old that nobody is at work on it.
    """
    if one.promoted or one.owner == server_id:
        return True
    return not one.owner and now - one.created > ABANDONED_S


def number_in(name: str) -> int:
    """The number at the end of a name; 0 where there is none."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _storage(cloud: "Connection") -> "Proxy":
    """Cinder, of which only the third version is left."""
    return cast("Proxy", cloud.block_storage)


def _older_of(found: list[Kept]) -> list[Kept]:
    current = promoted_of(found)
    return [one for one in found if current and one.promoted and _order(one) < _order(current)]


def _order(one: Kept) -> tuple[float, int, str]:
    return one.created, number_in(one.name), one.name


def _next_number(found: list[Kept]) -> int:
    return max((number_in(one.name) for one in found), default=0) + 1


def _brief(tried: AppResult) -> str:
    """An app's answer as a value of metadata; plain ASCII, since not every cloud's database takes more."""
    version = tried.version.encode("ascii", "backslashreplace").decode()
    return f"{tried.command} {version}"[:METADATA_LIMIT]


def _kept(one: "CinderSnapshot") -> Kept:
    metadata = {str(name): str(value) for name, value in (one.metadata or {}).items()}
    created, promoted = seconds_of(one.created_at), promoted_in(metadata)
    return Kept(str(one.id), str(one.name), str(one.status), int(one.size), created, promoted, metadata)


def promoted_in(metadata: dict[str, str]) -> float:
    """When what carries it was promoted, Unix seconds; 0 never."""
    return _number(metadata.get(PROMOTED))


def seconds_of(moment: str | None) -> float:
    """Unix seconds. Cinder tells UTC without saying so."""
    if not moment:
        return 0.0
    told = datetime.fromisoformat(moment)
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
