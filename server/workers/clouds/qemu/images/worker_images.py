"""What the qemu cloud's workers are made from: the promoted snapshot, or the lack of one."""

from dataclasses import dataclass

from server.workers.clouds.qemu.host.services import QemuHost
from server.workers.clouds.qemu.images.build import template_hash
from server.workers.clouds.qemu.images.images import Image, read_image
from server.workers.clouds.qemu.images.snapshot import restore_current
from server.workers.clouds.qemu.images.template import QemuTemplate
from server.workers.clouds.smoke_results import SmokeResults

OUTDATED = (
    "the snapshot was made by another version of Cumulus than this one: `cumulus template build --fresh` (what was installed on "
    "the template by hand is lost then), then `make snapshot`"
)


@dataclass(frozen=True)
class QemuImages:
    """Those of one installation."""

    host: QemuHost

    def template(self) -> QemuTemplate:
        """What workers are copies of."""
        return QemuTemplate(self.host.settings, self.host)

    def check(self) -> str:
        """Whether the promoted snapshot is of another version. Raises TemplateMissing."""
        return "" if self._promoted().build_hash == template_hash() else OUTDATED

    def current(self) -> str:
        """The promoted one's name. Raises TemplateMissing."""
        return self._promoted().folder.name

    def starts_jobs_at_boot(self) -> bool:
        """A clone continues where its template stopped: it gets its job over its virtio port."""
        return False

    def has_program(self, name: str) -> bool:
        """Whether a machine of the promoted snapshot has it. Raises TemplateMissing."""
        return self._promoted().has_program(name)

    def smoke_results(self, snapshot: str = "") -> SmokeResults:
        """Those of the promoted snapshot, or of another one. Raises TemplateMissing."""
        image = read_image(self.host.home.snapshots / snapshot) if snapshot else self._promoted()
        return image.smoke_results()

    def _promoted(self) -> Image:
        restore_current(self.host.home)
        return read_image(self.host.home.current)
