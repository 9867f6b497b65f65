"""What the storage has for everybody, as commands need it: in a folder of this computer, or as the controller says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cumulus_client.storage import Storage
from server.storage.data import find

Kind = Literal["file", "folder"]


class SharedFiles(Protocol):
    """The shared data of the storage that takes a job."""

    def kind(self, name: str) -> Kind | None:
        """What there is under a name, in whatever Unicode form; None for nothing of use. Raises OSError, Refused."""

    def path(self, name: str) -> str:
        """What a form says to name it."""


@dataclass(frozen=True)
class LocalFiles:
    """A folder of this computer."""

    data: Path

    def kind(self, name: str) -> Kind | None:
        """As :meth:`SharedFiles.kind`."""
        found = find(self.data, name)
        if found is None or found.is_symlink():
            return None
        return "folder" if found.is_dir() else "file" if found.is_file() else None

    def path(self, name: str) -> str:
        """As :meth:`SharedFiles.path`."""
        return str(self.data / name)


@dataclass(frozen=True)
class FilesElsewhere:
    """The storage of a controller that is asked."""

    storage: Storage

    def kind(self, name: str) -> Kind | None:
        """As :meth:`SharedFiles.kind`."""
        found = self.storage.find(name)
        return None if found is None else found.kind

    def path(self, name: str) -> str:
        """As :meth:`SharedFiles.path`."""
        return f"data/{name}"
