"""What the controller asks of every cloud. A driver lists, describes and removes machines; Terraform makes them.

What only some clouds can do is in ``capabilities``, what machines are made from in ``images``. docs/adding-a-cloud.md says how a
driver is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from server.catalog.flavors import Flavor
from server.settings import CloudName
from server.workers.ansible.connection import Connection
from server.workers.clouds.images import WorkerImages


@dataclass(frozen=True)
class Resource:
    """Something that the cloud holds for this installation, found by tag and not by the database."""

    kind: Literal["machine", "disk", "socket", "snapshot", "volume", "port"]
    worker: str
    identifier: str
    alive: bool


@dataclass(frozen=True)
class Layout:
    """How a job is reached on a worker: its folders there (absolute), and the commands that start it, stop it, and ask for it.

    ``work_dir`` is on the machine's own disk, with ``input``, ``output`` and ``temp``; ``job_dir`` is the job's folder in the
    storage. What ``status_command`` prints begins with "running", or is "starting" or "idle". ``shell``: what takes
    ``-c COMMAND`` and runs the command on the worker, where ``connection`` says that no ssh does. ``proxy``: a program that hands
    ssh a connection to the worker, where its address cannot be reached from here. ``job_variables``: variables of the
    worker's module that name the job to the machine from its boot on; empty where a machine cannot learn its job so.
    """

    connection: Connection
    work_dir: str
    job_dir: str
    start_command: tuple[str, ...]
    stop_command: tuple[str, ...]
    status_command: tuple[str, ...]
    shell: tuple[str, ...] = ("/bin/sh",)
    proxy: tuple[str, ...] = ()
    job_variables: Mapping[str, str] = field(default_factory=dict)


def worker_variables(
    server_id: str, worker: str, flavor: Flavor, *, disk_gb: int, snapshot: str, ssh_public_key: str
) -> dict[str, object]:
    """The values of the variables that the modules of all clouds have."""
    return {
        "server_id": server_id,
        "worker": worker,
        "flavor": flavor.name,
        "cpus": flavor.cpus,
        "memory_gb": flavor.memory_gb,
        "disk_gb": disk_gb,
        "snapshot": snapshot,
        "ssh_public_key": ssh_public_key,
    }


class Cloud(ABC):
    """A place where machines are made, for one installation. Constructing it starts nothing and asks nothing.

    ``boots_after_creation``: whether a machine that Terraform has made may still have to boot before it answers.
    """

    name: CloudName
    boots_after_creation: bool = False
    images: WorkerImages
    """What machines are made from."""

    @property
    @abstractmethod
    def ssh_key(self) -> Path:
        """The private key that logs in on workers; need not exist where no worker is reached by ssh."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What this computer lacks, one line each with its remedy; empty: nothing. Starts nothing."""

    def site_problems(self) -> list[str]:
        """What the cloud itself lacks or refuses, one line each with its remedy. Jobs wait for it, and a controller starts."""
        return []

    @abstractmethod
    def start(self) -> None:
        """Start what the cloud needs on this computer, or adopt what runs. May be repeated. Raises SetupMissing."""

    def stop(self) -> None:  # noqa: B027  # a default, not a forgotten abstract method
        """End what :meth:`start` started; what running workers still need (their storage) stays while they live."""

    @abstractmethod
    def terraform_env(self) -> dict[str, str]:
        """Variables that a terraform started by the controller needs beside the inherited ones."""

    def plain_terraform_env(self) -> dict[str, str]:
        """The same for an administrator's own terraform; nothing is started or made for it."""
        return self.terraform_env()

    def translate_output(self, text: str) -> str:
        """Terraform's output with the addresses that people know, where :meth:`terraform_env` gave it others."""
        return text

    @abstractmethod
    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables. Raises TemplateMissing where there is no snapshot, CloudError.

        One that is a SecretStr is given to terraform in its environment and is in no file.
        """

    @abstractmethod
    def layout(self, worker: str, job_dir: Path) -> Layout:
        """Where and how the job whose shared folder is ``job_dir`` runs on ``worker``."""

    def admit(self, job_dir: Path) -> None:  # noqa: B027
        """Let workers do their work in a job's folder, whose plan is written. Raises OSError, NotFound, InfrastructureError."""

    @abstractmethod
    def resources(self, worker: str = "") -> list[Resource]:
        """All that exists under this installation's tag, or only what is of one worker. Raises CloudError."""

    @abstractmethod
    def alive(self, worker: str) -> bool:
        """Whether the worker's machine exists and runs. Raises CloudError."""

    @abstractmethod
    def delete(self, resource: Resource) -> None:
        """Remove one resource; not an error where it is gone already. Raises CloudError."""
