"""The template's snapshots in Cinder: which there are, and which one is promoted.

All that is known of them is their metadata, so that an erased home loses none: ``cumulus_template`` is the template's name, and
``cumulus_promoted`` when the snapshot was promoted (Unix seconds); the latest counts.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from server.errors import TemplateMissing
from server.workers.clouds.openstack.access import Access

TEMPLATE, PROMOTED = "cumulus_template", "cumulus_promoted"
READY = "available"


@dataclass(frozen=True)
class Kept:
    """One snapshot that workers can start from. ``size_gb``: of its volume; ``created``, ``promoted``: Unix seconds, 0 never."""

    identifier: str
    name: str
    size_gb: int
    created: float
    promoted: float
    metadata: dict[str, str]


class Snapshots:
    """The snapshots of one template. What was seen last is remembered: the loop asks for it at each turn."""

    def __init__(self, access: Access, template: str) -> None:
        self._access = access
        self._template = template
        self._lock = threading.Lock()
        self._seen: list[Kept] | None = None

    def look(self) -> list[Kept]:
        """All that are whole, oldest first, asked of the cloud now. Raises CloudError."""
        with self._access.use() as cloud:
            listed = list(cloud.block_storage.snapshots(details=True))
        found = [_kept(one) for one in listed if one.status == READY and (one.metadata or {}).get(TEMPLATE) == self._template]
        found.sort(key=lambda one: (one.created, one.name))
        with self._lock:
            self._seen = found
        return found

    def current(self, *, remembered: bool = False) -> Kept:
        """The promoted one; ``remembered``: as it was at the last look. Raises TemplateMissing, CloudError."""
        with self._lock:
            seen = self._seen
        found = seen if remembered and seen is not None else self.look()
        promoted = [one for one in found if one.promoted]
        if not promoted:
            raise TemplateMissing(
                f"the cloud has no promoted snapshot of {self._template}: `make template`, then `make snapshot`; "
                "`cumulus snapshot list` shows what there is"
            )
        return max(promoted, key=lambda one: one.promoted)


def _kept(one: Any) -> Kept:
    metadata = {str(name): str(value) for name, value in (one.metadata or {}).items()}
    return Kept(str(one.id), str(one.name), int(one.size), _seconds(one.created_at), _number(metadata.get(PROMOTED)), metadata)


def _seconds(moment: str | None) -> float:
    """Cinder tells UTC without saying so."""
    if not moment:
        return 0.0
    told = datetime.fromisoformat(moment)
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
