"""How the machine sizes of flavors.tsv compare with those of the cloud. Pure: reads no file and asks no cloud."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.catalog.flavors import Flavor
from server.workers.clouds.capabilities import CloudFlavor

SIMILAR_SHOWN = 3


@dataclass(frozen=True)
class Difference:
    """A difference between a flavor and what the cloud offers, and how to correct it.

    ``cells``: the columns of its line that would be right, by name; empty where the line cannot be corrected.
    """

    flavor: str
    text: str
    cure: str
    cells: dict[str, int]


def compare(flavors: Sequence[Flavor], offered: Sequence[CloudFlavor], default_disk_gb: int) -> list[Difference]:
    """What differs, at most one for each flavor, in their order. Other flavors of the cloud do not matter.

    ``default_disk_gb``: the disk of a machine whose flavor names none.
    """
    by_name = {size.name: size for size in offered}
    found = [_compare(flavor, by_name.get(flavor.name), offered, default_disk_gb) for flavor in flavors]
    return [one for one in found if one is not None]


def in_whole_gb(memory_gb: float) -> int:
    """Memory as flavors.tsv can say it, GB."""
    return max(1, round(memory_gb))


def _compare(flavor: Flavor, size: CloudFlavor | None, offered: Sequence[CloudFlavor], default_disk_gb: int) -> Difference | None:
    if size is None:
        return _missing(flavor, offered)
    cells, texts, memory_gb = dict[str, int](), list[str](), in_whole_gb(size.memory_gb)
    if flavor.cpus != size.cpus:
        cells["CPU"] = size.cpus
        texts.append(f"CPU is {flavor.cpus}, the cloud has {size.cpus}")
    if flavor.memory_gb != memory_gb:
        cells["RAM"] = memory_gb
        texts.append(f"RAM is {flavor.memory_gb}, the cloud has {size.memory_gb:g} GB")
    disk_gb = flavor.disk_gb or default_disk_gb
    if disk_gb < size.least_disk_gb:
        cells["DISK"] = size.least_disk_gb
        texts.append(
            f"DISK is {disk_gb}{'' if flavor.disk_gb else ' by worker_disk_gb'}, the snapshot needs {size.least_disk_gb}"
        )
    if not cells:
        return None
    cure = f"write {', '.join(f'{name} {number}' for name, number in cells.items())} into its line"
    return Difference(flavor.name, "; ".join(texts), cure, cells)


def _missing(flavor: Flavor, offered: Sequence[CloudFlavor]) -> Difference:
    similar = [size.name for size in offered if (size.cpus, in_whole_gb(size.memory_gb)) == (flavor.cpus, flavor.memory_gb)]
    instead = f", or name one of its size: {', '.join(similar[:SIMILAR_SHOWN])}" if similar else ""
    cure = f"make it on the cloud (CPU {flavor.cpus}, RAM {flavor.memory_gb} GB), take its line out{instead}"
    return Difference(flavor.name, "the cloud has no such size", cure, {})
