"""The template's snapshots: which there are, which one is promoted, and how they come and go.

All that is known of them is their metadata, so that an erased home loses none: ``cumulus_template`` is the template's name, and
``cumulus_promoted`` when the snapshot was promoted (Unix seconds); the latest counts. So a promotion is one request, and whatever
breaks off, exactly one is promoted. Promoted ones are shared by all installations of that template. One without such a time was
not tried to its end: the next attempt of the installation that made it, ``cumulus_server``, removes it.
"""

import threading

from server.errors import CloudError, TemplateMissing
from server.reasons import Reason
from server.workers.clouds.openstack.template.cinder_copies import Copies
from server.workers.clouds.openstack.template.kept import (
    APP,
    APPS,
    BUILD_HASH,
    GOING,
    METADATA_LIMIT,
    ON_ITS_WAY,
    PROGRAMS,
    PROMOTED,
    READY,
    SERVER_ID,
    TEMPLATE,
    Kept,
    brief,
    number_in,
)
from server.workers.clouds.openstack.waiting import COPYING, QUICK, Limit, Waiting
from server.workers.clouds.smoke_results import short
from server.workers.clouds.smoke_test import Found

ABANDONED_S = 86_400.0  # no attempt takes as long


class Snapshots:
    """The snapshots of one template. What was seen last is remembered: the loop asks for it at each turn."""

    def __init__(
        self,
        copies: Copies,
        waiting: Waiting | None = None,
        limit: Limit = COPYING,
        removal: Limit = QUICK,
    ) -> None:
        """``limit``, ``removal``: how long making and removing one may take."""
        self.copies = copies
        self._limit = limit
        self._removal = removal
        self._waiting = waiting or Waiting()
        self._lock = threading.Lock()
        self._seen: list[Kept] | None = None

    def fetch(self) -> list[Kept]:
        """All that are whole, oldest first, asked of the cloud now. Raises CloudError."""
        found = [one for one in self._all() if one.status == READY]
        with self._lock:
            self._seen = found
        return found

    def current(self, *, remembered: bool = False) -> Kept:
        """The promoted one; ``remembered``: as it was at the last look. Raises TemplateMissing, CloudError."""
        with self._lock:
            seen = self._seen
        found = promoted_of(seen if remembered and seen is not None else self.fetch())
        if found is None:
            raise TemplateMissing(
                f"the cloud has no promoted snapshot of {self.copies.template}: `make template`, then `make snapshot`; "
                "`cumulus snapshot list` shows what there is"
            )
        return found

    def find(self, name: str = "") -> Kept:
        """The one of that name, or the promoted one, as it was at the last look. Raises TemplateMissing, CloudError."""
        with self._lock:
            seen = self._seen
        if not name:
            return self.current(remembered=True)
        for one in seen if seen is not None else self.fetch():
            if one.name == name:
                return one
        raise TemplateMissing(f"the cloud has no snapshot {name}")

    def make(self, volume_id: str, server_id: str, build_hash: str) -> Kept:
        """Copy the volume, which nothing may write to; returns when the copy is whole. Raises CloudError."""
        name = f"{self.copies.template}-{_next_number(self._all())}"
        metadata = {TEMPLATE: self.copies.template, SERVER_ID: server_id, BUILD_HASH: build_hash}
        identifier = self._ordered(name, volume_id, metadata)
        found = self._waiting.until(lambda: self._settled(identifier), self._limit, f"the snapshot {name} is not ready")
        if found.status != READY:
            raise CloudError(f"the snapshot {name} could not be made: Cinder says {found.status}", Reason.CLOUD_BUSY)
        return found

    def _ordered(self, name: str, volume_id: str, metadata: dict[str, str]) -> str:
        """Its id. An order whose answer was lost may have been carried out: it is looked for, and not sent again."""
        try:
            with self.copies.access.use() as cloud:
                return self.copies.copy(cloud, name, volume_id, metadata)
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
        self.copies.describe(one, {PROMOTED: f"{max(now, latest + 1):.0f}"})
        self.fetch()

    def write_found(self, one: Kept, found: Found) -> None:
        """Write down which of the programs that were looked for a machine of it has, and which apps ran there. One request."""
        apps = {f"{APP}{short(app)}": brief(tried) for app, tried in found.apps.items()}
        programs = {PROGRAMS: text} if len(text := ",".join(found.programs)) <= METADATA_LIMIT else {}
        self.copies.describe(one, {**programs, APPS: str(len(apps)), **apps})

    def older(self) -> list[Kept]:
        """Those that one can go back to, oldest first: made before the promoted one, and promoted once themselves."""
        return _older_of(self.fetch())

    def unfinished(self) -> list[Kept]:
        """Copies that were not promoted, whoever made them and in whatever state, and removals that broke off."""
        return [one for one in self._all() if not one.promoted or one.status in GOING]

    def spare(self, keep: int) -> list[Kept]:
        """All but the newest ``keep``, the promoted one, the one before it, and those that a volume was made from."""
        found = [one for one in self.fetch() if one.promoted]
        current = promoted_of(found)
        needed = [*found[-keep:], *_older_of(found)[-1:], *([current] if current else [])]
        used = self.copies.used()
        return [one for one in found if one not in needed and one.identifier not in used]

    def remove(self, one: Kept) -> None:
        """Remove it and wait until it is gone; not an error where it is gone already. Raises CloudError."""
        self._waiting.until(lambda: self._settled_or_gone(one.identifier), self._limit, f"{one.name} does not get ready")
        with self.copies.access.use() as cloud:
            self.copies.delete(cloud, one.identifier)
        gone = self._waiting.until(lambda: self._settled_or_gone(one.identifier), self._removal, f"{one.name} is still there")
        if gone:
            raise CloudError(f"the snapshot {one.name} could not be removed: Cinder says {gone}", Reason.CLOUD_BUSY)

    def _all(self) -> list[Kept]:
        with self.copies.access.use() as cloud:
            found = self.copies.listed(cloud)
        return sorted(found, key=_order)

    def _settled(self, identifier: str) -> Kept | None:
        """It, once Cinder does nothing with it any more."""
        with self.copies.access.use() as cloud:
            found = self.copies.find(cloud, identifier)
        if found is None:
            raise CloudError(f"the copy {identifier} is gone: somebody has removed it")
        return None if found.status in ON_ITS_WAY else found

    def _settled_or_gone(self, identifier: str) -> str | None:
        """Its status, "" where it is gone, None while Cinder is at work on it."""
        with self.copies.access.use() as cloud:
            found = self.copies.find(cloud, identifier)
        if found is None:
            return ""
        return None if found.status in ON_ITS_WAY else found.status


def promoted_of(found: list[Kept]) -> Kept | None:
    """The one of them that workers are made from; None where none was promoted."""
    return max((one for one in found if one.promoted), key=lambda one: one.promoted, default=None)


def is_leftover(one: Kept, server_id: str, now: float) -> bool:
    """Whether an unfinished one is this installation's to remove: another one may be at work on its own. ``now``: Unix seconds.

    What was promoted once belongs to all. One without an installation is removed once it is too old to be in the making.
    """
    if one.promoted or one.owner == server_id:
        return True
    return not one.owner and now - one.created > ABANDONED_S


def _older_of(found: list[Kept]) -> list[Kept]:
    current = promoted_of(found)
    return [one for one in found if current and one.promoted and _order(one) < _order(current)]


def _order(one: Kept) -> tuple[float, int, str]:
    return one.created, number_in(one.name), one.name


def _next_number(found: list[Kept]) -> int:
    return max((number_in(one.name) for one in found), default=0) + 1
