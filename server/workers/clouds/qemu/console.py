"""What a machine writes on its console, and QEMU in its log."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from server.home.files import read_end
from server.progress import Step, repeating
from server.workers.clouds.qemu.paths import QemuHome

CONSOLE_TAIL = 4000


@dataclass(frozen=True)
class MachineConsole:
    """Those of one home's machines."""

    home: QemuHome

    def log(self, worker: str) -> str:
        """The end of what the machine and QEMU have written."""
        return "".join(_tail(self.home.machines / worker / name) for name in ("console.log", "qemu.log"))

    def fault(self, worker: str) -> str:  # noqa: ARG002
        """Nothing more than Terraform has said."""
        return ""

    def followed(self, worker: str, step: Step) -> AbstractContextManager[None]:
        """Within the block, the step shows the latest message on the machine's console."""
        return repeating(lambda: step.note(self.log(worker)))


def _tail(path: Path) -> str:
    try:
        return read_end(path, CONSOLE_TAIL).decode(errors="replace")
    except OSError:
        return ""
