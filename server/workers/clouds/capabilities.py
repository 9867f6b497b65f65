"""What some clouds can do and others cannot. A driver has a capability where it has the attribute of that name.

Callers ask with ``isinstance(cloud, HasQuota)``; a cloud without it needs no code for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from server.catalog.flavors import Flavor
from server.workers.terraform.module import TerraformModule


@dataclass(frozen=True)
class Quota:
    """How much of something the cloud lets this installation's project have; ``limit`` None: no limit. RAM is in MB."""

    name: str
    used: int
    limit: int | None

    def lacks(self, wanted: int) -> bool:
        """Whether so much more does not fit."""
        return self.limit is not None and self.used + wanted > self.limit


class QuotaReader(Protocol):
    """The quota of the cloud's project."""

    def listed(self) -> list[Quota]:
        """Each limit, and how much of it is used. Raises CloudError."""

    def require_room(self, flavor: Flavor) -> None:
        """Raises CloudError where a machine of that flavor does not fit now."""


@runtime_checkable
class HasQuota(Protocol):
    """A cloud that limits what a project may use."""

    @property
    def quota(self) -> QuotaReader:
        """That of this installation's project."""


@dataclass(frozen=True)
class CloudFlavor:
    """A flavor as the cloud has it. ``least_disk_gb``: no machine can be made with a smaller disk; 0: any will do."""

    name: str
    cpus: int
    memory_gb: float
    least_disk_gb: int = 0


class FlavorReader(Protocol):
    """The flavors of the cloud."""

    def listed(self) -> Sequence[CloudFlavor]:
        """Those that machines can be made with. Raises CumulusError."""


@runtime_checkable
class HasFlavors(Protocol):
    """A cloud with machine sizes of its own, which flavors.tsv must name. Others make machines of any size."""

    @property
    def flavors(self) -> FlavorReader:
        """Those that this installation may use."""


class Console(Protocol):
    """What machines and the cloud say of themselves."""

    def log(self, worker: str) -> str:
        """The last lines of the machine's console, "" where there are none."""

    def fault(self, worker: str) -> str:
        """Why the machine failed, in the cloud's own words; "" where it did not, or nothing is known."""


@runtime_checkable
class HasConsole(Protocol):
    """A cloud that can say more of a failed machine than Terraform does."""

    @property
    def console(self) -> Console:
        """That of this installation's machines."""


class Prewarmer(Protocol):
    """Prepares faster starts of later machines."""

    def warm_up(self, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        """Make what lets later machines of that flavor start sooner, where something is missing; may take minutes.

        Gives up soon after ``unwanted`` says so. Raises CumulusError where it cannot be made.
        """

    def next_boot(self, flavor: Flavor) -> str:
        """How a machine of that flavor would start now: ``warm``, or ``cold: why``."""

    def prune(self, now: float) -> None:
        """Remove what is damaged, or was not used for long. ``now``: Unix seconds. Raises CumulusError."""


@runtime_checkable
class HasPrewarming(Protocol):
    """A cloud whose machines can start from a prepared state."""

    @property
    def prewarming(self) -> Prewarmer:
        """What is kept for later machines."""


class Resumption(Protocol):
    """Completes machines whose creation was interrupted, on a cloud where that takes long."""

    def take_up(self, worker: str, module: TerraformModule) -> None:
        """Bring the worker's Terraform state up to what the cloud has made, so that the next apply continues from there.

        ``module``: the worker's. Raises StillCopying while its disk is being copied, CloudError, TerraformError.
        """

    def is_copying(self, worker: str) -> bool:
        """Whether the cloud copies the worker's disk, or has just ended, and no machine came of it yet. Raises CloudError."""


@runtime_checkable
class HasResumption(Protocol):
    """A cloud that makes machines in several steps, each of which may outlive a broken-off apply."""

    @property
    def resumption(self) -> Resumption:
        """That of this installation's machines."""


@dataclass(frozen=True)
class MemoryUse:
    """Memory of this computer that a machine takes, bytes. ``proportional``: what it shares with others is counted in parts."""

    resident: int
    proportional: int


class MemoryMeter(Protocol):
    """Measures machines that run on this computer."""

    def use(self, worker: str) -> MemoryUse | None:
        """What the worker's machine takes; None where it does not run."""


@runtime_checkable
class HasMemoryUse(Protocol):
    """A cloud whose machines take memory of this computer."""

    @property
    def memory(self) -> MemoryMeter:
        """That of this installation's machines."""
