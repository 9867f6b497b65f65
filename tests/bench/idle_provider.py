"""The qemu cloud's shared provider with machines that are nothing: made and gone at once, so that what is left is Terraform.

Run as a process of its own, like server/workers/clouds/qemu/serve.py, which it is but for that.
"""

from server.workers.clouds.qemu import serve
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.process import GuestName
from server.workers.clouds.qemu.provider.boot import Booter

PORT = 22


def create(booter: Booter, spec: MachineSpec, limit_s: float) -> Machine:
    """A machine that is written down nowhere."""
    return Machine(spec=spec, host_key="ssh-ed25519 none", pid=1, port=PORT, boot="none", ready=True)


def remove(machines: Machines, guest: GuestName, limit_s: float = 0.0) -> None:
    """There is nothing to remove."""


if __name__ == "__main__":
    Booter.create = create  # type: ignore[method-assign]  # in this process alone
    Machines.remove = remove  # type: ignore[method-assign]
    serve.main()
