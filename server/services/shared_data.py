"""The shared data of an installation, which any job may use and everybody may read."""

from collections.abc import Iterator
from pathlib import Path

from server.services.principal import Principal, Role
from server.storage.data import each_behind, listing, usage
from server.storage.folders import Storage
from server.storage.paths import inside


class SharedData:
    """Files in ``data/`` of the storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def listed(self, principal: Principal) -> list[tuple[str, int]]:
        """The names at the top with their bytes. Raises Forbidden, OSError where the storage is away."""
        principal.require(Role.USER)
        return list(listing(self._storage.data, ()))

    def file(self, principal: Principal, path: str) -> Path:
        """One file. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.USER)
        return inside(self._storage.data, path)

    def behind(self, principal: Principal, name: str) -> Iterator[str]:
        """The files behind a name, folders walked, relative to ``data/``. Raises Forbidden, InvalidInput."""
        principal.require(Role.USER)
        return each_behind(self._storage.data, name)

    def usage(self, principal: Principal) -> tuple[int, int, int]:
        """Bytes of the storage: in all, used, free. Raises Forbidden, OSError where it is away."""
        principal.require(Role.USER)
        return usage(self._storage.root)
