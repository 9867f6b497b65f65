"""How machines of each flavor would start, and the memory images that let them start sooner, as the controller asks for them."""

from collections.abc import Callable
from dataclasses import dataclass

from server.catalog.flavors import Flavor
from server.errors import CumulusError
from server.workers.clouds.qemu.host import QemuHost
from server.workers.clouds.qemu.images.prewarming import Prewarming, missing
from server.workers.clouds.qemu.images.worker_images import QemuImages

DAY_S = 24 * 3600


@dataclass(frozen=True)
class QemuPrewarmer:
    """Those of one installation."""

    host: QemuHost
    images: QemuImages

    def warm_up(self, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        """Make the memory image of the promoted snapshot for that flavor's machines, if there is none that fits."""
        self._on_demand().make(flavor, self.host.shape(flavor), unwanted)

    def next_boot(self, flavor: Flavor) -> str:
        """``warm`` where there is a memory image that fits, else ``cold:`` and why."""
        try:
            why = missing(self.host.home, self.host.shape(flavor))
        except CumulusError as problem:
            why = problem.message
        return f"cold: {why}" if why else "warm"

    def prune(self, now: float) -> None:
        """Check the memory images, and remove those that are of no use any more."""
        self._on_demand().prune(now - self.host.settings.warm_images_max_age_days * DAY_S)

    def _on_demand(self) -> Prewarming:
        return Prewarming(self.host.home, self.images.template().canaries())
