"""The template's snapshots in Cinder: how they are listed, made, removed and described. Which one counts is in ``snapshots``."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from server.workers.clouds.openstack.client.access import Access, find_or_none
from server.workers.clouds.openstack.template.kept import TEMPLATE, Kept, promoted_in, seconds_of

if TYPE_CHECKING:
    from openstack.block_storage.v3._proxy import Proxy
    from openstack.block_storage.v3.snapshot import Snapshot as CinderSnapshot
    from openstack.connection import Connection


@dataclass(frozen=True)
class Copies(ABC):
    """Where a template's copies lie. ``template``: its name."""

    access: Access
    template: str

    @abstractmethod
    def listed(self, cloud: "Connection") -> list[Kept]:
        """All copies of the template."""

    @abstractmethod
    def copy(self, cloud: "Connection", name: str, source: str, metadata: dict[str, str]) -> str:
        """Begin to make a copy of what has that id; returns the copy's id."""

    @abstractmethod
    def delete(self, cloud: "Connection", identifier: str) -> None:
        """Begin to remove a copy; not an error where it is gone."""

    @abstractmethod
    def find(self, cloud: "Connection", identifier: str) -> Kept | None:
        """It as it is now; None where it is gone."""

    @abstractmethod
    def describe(self, one: Kept, metadata: dict[str, str]) -> None:
        """Write metadata to a copy, in one request."""

    @abstractmethod
    def used(self) -> set[str]:
        """Ids of the copies that a machine's disk still needs."""

    @abstractmethod
    def sources(self) -> set[str]:
        """Ids of what a copy was made of and still needs."""


class CinderCopies(Copies):
    """Snapshots of a volume."""

    def listed(self, cloud: "Connection") -> list[Kept]:
        """All snapshots of the template's volumes."""
        return [_kept(one) for one in self._snapshots(cloud)]

    def copy(self, cloud: "Connection", name: str, source: str, metadata: dict[str, str]) -> str:
        """Begin to make a copy; returns its id."""
        return str(_storage(cloud).create_snapshot(name=name, volume_id=source, metadata=metadata).id)

    def delete(self, cloud: "Connection", identifier: str) -> None:
        """Begin to remove it."""
        _storage(cloud).delete_snapshot(identifier, ignore_missing=True)

    def find(self, cloud: "Connection", identifier: str) -> Kept | None:
        """It as it is now; None where it is gone."""
        found = find_or_none(_storage(cloud).get_snapshot, identifier)
        return None if found is None else _kept(found)

    def describe(self, one: Kept, metadata: dict[str, str]) -> None:
        """Cinder adds to what is there."""
        with self.access.use() as cloud:
            _storage(cloud).set_snapshot_metadata(one.identifier, **metadata)

    def used(self) -> set[str]:
        """Ids of the snapshots that a volume was made from. Some storage needs the snapshot while the volume lives."""
        with self.access.use() as cloud:
            return {str(one.snapshot_id) for one in _storage(cloud).volumes(details=True) if one.snapshot_id}

    def sources(self) -> set[str]:
        """Ids of the volumes that a snapshot of this template was made of: Cinder would not remove them."""
        with self.access.use() as cloud:
            return {str(one.volume_id) for one in self._snapshots(cloud)}

    def _snapshots(self, cloud: "Connection") -> "Iterator[CinderSnapshot]":
        for one in _storage(cloud).snapshots(details=True):
            if (one.metadata or {}).get(TEMPLATE) == self.template:
                yield one


def _storage(cloud: "Connection") -> "Proxy":
    """Cinder, of which only the third version is left."""
    return cast("Proxy", cloud.block_storage)


def _kept(one: "CinderSnapshot") -> Kept:
    metadata = {str(name): str(value) for name, value in (one.metadata or {}).items()}
    created, promoted = seconds_of(one.created_at), promoted_in(metadata)
    return Kept(str(one.id), str(one.name), str(one.status), int(one.size), created, promoted, metadata)
