"""What is sent together, and what a run of rsync proves of it."""

from dataclasses import dataclass

from agent.queue.manifest import Arrived, to_text
from agent.queue.models import Transfer
from agent.queue.orders import DATA
from agent.sending.rsync_output import Item
from agent.sending.staging import Load, Source
from agent.sources.survey import SourceFile


@dataclass(frozen=True, eq=False)
class Parcel:
    """A transfer with its source, held open as it was when sending began."""

    transfer: Transfer
    source: Source
    files: dict[str, SourceFile]  # of the source, by path

    @property
    def name(self) -> str:
        """What it is called in the storage."""
        return str(self.transfer.name)

    @property
    def is_shared(self) -> bool:
        """Whether it is shared by all jobs."""
        return bool(self.transfer.place == DATA)


@dataclass(frozen=True)
class Batch:
    """Parcels for one place, and what rsync can send of them."""

    parcels: list[Parcel]
    load: Load
    place: str

    def only(self, parcels: list[Parcel]) -> "Batch":
        """Some of them."""
        return Batch(parcels, self.load.only(one.name for one in parcels), self.place)

    @property
    def transfers(self) -> list[int]:
        """The numbers of their transfers."""
        return [one.transfer.id for one in self.parcels]

    @property
    def upload(self) -> str:
        """The folder that they arrive in."""
        return str(self.parcels[0].transfer.upload)


def is_new(parcel: Parcel, items: dict[str, Item]) -> bool:
    """Whether the storage has nothing of its name: so rsync would make it."""
    item = items.get(parcel.name)
    return item is not None and not item.is_same


def is_same(parcel: Parcel, items: dict[str, Item]) -> bool:
    """Whether a comparison has found all of it there, and nothing beside it."""
    of_it = [item for path, item in items.items() if path == parcel.name or path.startswith(f"{parcel.name}/")]
    return (
        any(item.path == parcel.name for item in of_it)
        and all(item.is_same for item in of_it)
        and all(
            (item := items.get(path)) is not None and item.is_same and proof(file, items) for path, file in parcel.files.items()
        )
    )


def proof(file: SourceFile, items: dict[str, Item]) -> str:
    """The checksum by which both rsyncs know that a file is there as its source is; "" where they have not compared it."""
    item = items.get(file.path)
    return item.checksum if item is not None and item.size == file.size else ""


def contents_of(parcel: Parcel, items: dict[str, Item]) -> str:
    """What has arrived of a transfer, all of whose files are proved."""
    return to_text(Arrived(file.path, file.size, _time(file, items), proof(file, items)) for file in parcel.files.values())


def _time(file: SourceFile, items: dict[str, Item]) -> int:
    """When the file that is there was changed; 0 where it is another's, of the same content, with a time of its own."""
    item = items.get(file.path)
    return file.modified_ns if item is not None and item.has_source_time else 0
