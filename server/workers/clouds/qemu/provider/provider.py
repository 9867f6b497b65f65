"""The Terraform provider ``qemu``: machines on this computer as resources. Owns schema and translation, not how a machine
starts.

Written with the framework ``tf`` (Python, plugin protocol 6). Started by terraform itself through
:func:`main`, or kept running for many terraforms by serve.py.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from tf.iface import (
    CreateContext,
    DataSource,
    DeleteContext,
    Provider,
    ReadContext,
    Resource,
    UpdateContext,
)
from tf.schema import Attribute, Schema
from tf.types import Bool, Number, String
from tf.utils import Diagnostics

from server.cloud_settings.qemu import Accelerator
from server.errors import CumulusError, InfrastructureError
from server.workers.clouds.qemu.console import MachineConsole
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.paths import PROVIDER_ADDRESS, QemuHome
from server.workers.clouds.qemu.process import GuestName
from server.workers.clouds.qemu.provider.boot import Booter

State = dict[str, Any]
CREATE_TIMEOUT_S = 300
DELETE_TIMEOUT_S = 120


def _given(name: str, kind: Any, description: str, **more: Any) -> Attribute:
    return Attribute(name, kind(), description, requires_replace=True, **more)


class Call:
    """One request of a terraform, which may be gone before it is answered."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self._react: Callable[[], None] = lambda: None

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self.abandoned.set()
        self._react()

    @contextmanager
    def reacting(self, react: Callable[[], None]) -> Iterator[None]:
        """Within the block, ``react`` is called when the request is abandoned."""
        self._react = react
        try:
            yield
        finally:
            self._react = lambda: None


class MachineResource(Resource):  # type: ignore[misc]
    """``qemu_machine``: one machine with its disk."""

    ATTRIBUTES: ClassVar = [
        _given("server_id", String, "Id of the installation, part of the process's name", required=True),
        _given("worker", String, "Name of the machine, its folder and its host name", required=True),
        _given("snapshot", String, "Number of the snapshot, or `template` for the template's own disk", required=True),
        _given("cpus", Number, "Processors", required=True),
        _given("memory_mb", Number, "Memory in MB; QEMU gives no more", required=True),
        _given("disk_gb", Number, "Virtual size of the disk in GB", required=True),
        _given("ssh_public_key", String, "Key that may log in as root", required=True),
        _given("persistent", Bool, "Runs on the image's own disk, which stays", optional=True, computed=True, default=False),
        Attribute(
            "create_timeout_s", Number(), "Limit of the creation, seconds", optional=True, computed=True, default=CREATE_TIMEOUT_S
        ),
        Attribute(
            "delete_timeout_s", Number(), "Limit of the removal, seconds", optional=True, computed=True, default=DELETE_TIMEOUT_S
        ),
        Attribute("id", String(), "Name of the machine", computed=True),
        Attribute("address", String(), "Where its ssh port is reached", computed=True),
        Attribute("port", Number(), "Port of its ssh server on `address`", computed=True),
        Attribute("user", String(), "Whom to log in as", computed=True),
        Attribute("host_key", String(), "Public host key, `ssh-ed25519 AAAA…`", computed=True),
        Attribute("pid", Number(), "Number of the QEMU process", computed=True),
        Attribute("console_log", String(), "File with what the machine's console shows", computed=True),
        Attribute("boot", String(), "`warm`, `cold: why` or `template`", computed=True),
    ]

    def __init__(self, provider: "QemuProvider") -> None:
        self._machines = provider.machines
        self._call = provider.call

    @classmethod
    def get_name(cls) -> str:
        """Type name without the provider's prefix."""
        return "machine"

    @classmethod
    def get_schema(cls) -> Schema:
        """Attributes of the resource."""
        return Schema(attributes=cls.ATTRIBUTES, version=0, description="A virtual machine of this computer and its own disk")

    def create(self, ctx: CreateContext, planned: State) -> State | None:
        """Start the machine. After a failure what is there is returned, too, so that terraform can destroy it."""
        try:
            spec = MachineSpec.model_validate(planned)
            machine = self._make(spec, float(planned["create_timeout_s"]))
        except ValidationError as problem:
            for error in problem.errors():
                ctx.diagnostics.add_error(f"{'.'.join(map(str, error['loc']))}: {error['msg']}")
            return None
        except (CumulusError, OSError) as problem:
            return self._failed(ctx, planned, problem)
        return self._state(planned, machine)

    def read(self, ctx: ReadContext, current: State) -> State | None:  # noqa: ARG002
        """What is true now; a machine that died is gone."""
        machine = self._machines.find(current["worker"])
        return self._state(current, machine) if machine and machine.spec.server_id == current["server_id"] else None

    def update(self, ctx: UpdateContext, current: State, planned: State) -> State:  # noqa: ARG002
        """Only limits can change; all else makes a new machine."""
        return {**current, "create_timeout_s": planned["create_timeout_s"], "delete_timeout_s": planned["delete_timeout_s"]}

    def delete(self, ctx: DeleteContext, current: State) -> State | None:
        """Remove the machine and return when it is gone."""
        try:
            self._machines.remove(GuestName(current["server_id"], current["worker"]), float(current["delete_timeout_s"]))
        except (CumulusError, OSError) as problem:
            ctx.diagnostics.add_error(f"The machine {current['worker']} could not be removed", str(problem))
            return current
        return None

    def _make(self, spec: MachineSpec, limit_s: float) -> Machine:
        """A machine whose terraform is gone would be in no state: it is not finished, or removed again."""
        with self._call.reacting(lambda: self._machines.give_up(spec.guest)):
            machine = Booter(self._machines).create(spec, limit_s)
        if self._call.abandoned.is_set():
            self._machines.remove(spec.guest)
            raise InfrastructureError("terraform ended before the machine was ready")
        return machine

    def _failed(self, ctx: CreateContext, planned: State, problem: Exception) -> State | None:
        worker = planned["worker"]
        console = MachineConsole(self._machines.home).log(worker).strip()[-1000:]
        ctx.diagnostics.add_error(
            f"The machine {worker} could not be made: {problem}", console and f"Its console's end:\n{console}"
        )
        record = self._machines.record(worker)
        return self._state(planned, record) if record else None

    def _state(self, given: State, machine: Machine) -> State:
        return {
            **given,
            "id": machine.spec.worker,
            "address": "127.0.0.1",
            "port": machine.port,
            "user": "root",
            "host_key": machine.host_key,
            "pid": machine.pid,
            "console_log": str(self._machines.folder(machine.spec.worker) / "console.log"),
            "boot": machine.boot,
        }


class QemuProvider(Provider):  # type: ignore[misc]
    """The provider over one home, for one request or for all."""

    def __init__(self, home: QemuHome, call: Call | None = None) -> None:
        self.machines = Machines(home)
        self.call = call or Call()

    def get_model_prefix(self) -> str:
        """What the names of its types begin with."""
        return "qemu_"

    def get_provider_schema(self, diags: Diagnostics) -> Schema:  # noqa: ARG002
        """The provider has nothing to configure: it knows its home from where it was started."""
        return Schema(attributes=[])

    def full_name(self) -> str:
        """Its source address."""
        return PROVIDER_ADDRESS

    def validate_config(self, diags: Diagnostics, config: State) -> None:
        """Nothing to validate."""

    def configure_provider(self, diags: Diagnostics, config: State) -> None:
        """Nothing to configure."""

    def get_data_sources(self) -> list[type[DataSource]]:
        """It has none."""
        return []

    def get_resources(self) -> list[type[Resource]]:
        """Its resource types."""
        return [MachineResource]


def provider_at(home: Path, accelerator: Accelerator) -> QemuProvider:
    """The provider of the installation whose ``$CUMULUS_HOME`` is ``home``."""
    return QemuProvider(QemuHome(home.resolve(), accelerator))
