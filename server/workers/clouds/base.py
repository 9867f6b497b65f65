"""What the controller asks of a cloud. A driver looks, tells and removes; it creates no worker (Terraform does)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from server.catalog.flavors import Flavor
from server.progress import Progress
from server.settings import CloudName
from server.workers.ansible.connection import Connection
from server.workers.clouds.smoke_results import TriedApps
from server.workers.terraform.module import TerraformModule


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
    ssh a connection to the worker, where its address cannot be reached from here. ``orders``: variables of the worker's module
    by which a machine that is made for the job knows it from its boot on; empty where none can.
    """

    connection: Connection
    work_dir: str
    job_dir: str
    start_command: tuple[str, ...]
    stop_command: tuple[str, ...]
    status_command: tuple[str, ...]
    shell: tuple[str, ...] = ("/bin/sh",)
    proxy: tuple[str, ...] = ()
    orders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Quota:
    """How much of something the cloud lets this installation's project have; ``limit`` None: no limit. RAM is in MB."""

    name: str
    used: int
    limit: int | None

    def lacks(self, wanted: int) -> bool:
        """Whether so much more does not fit."""
        return self.limit is not None and self.used + wanted > self.limit


@dataclass(frozen=True)
class MemoryUse:
    """Memory of this computer that a machine takes, bytes. ``proportional``: what it shares with others is counted in parts."""

    resident: int
    proportional: int


@dataclass(frozen=True)
class Size:
    """A machine size as the cloud has it. ``least_disk_gb``: no smaller disk can a machine be made with; 0: any will do."""

    name: str
    cpus: int
    memory_gb: float
    least_disk_gb: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A copy of the template that workers can start from. ``created``: Unix seconds."""

    name: str
    promoted: bool
    created: float


@dataclass(frozen=True)
class Trial:
    """What is tried on a machine of a new snapshot before it counts.

    ``versions``: (app id, shell text) pairs, each must succeed there; ``programs``: names that are looked for and may be absent;
    ``optional``: app id -> the one of those without which it need not succeed. What is found is remembered with the snapshot,
    unless no programs are looked for: such a machine is made only for its memory.
    """

    versions: Sequence[tuple[str, str]] = ()
    programs: Sequence[str] = ()
    optional: Mapping[str, str] = field(default_factory=dict)


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


class Template(Protocol):
    """The machine that workers are copies of, and its snapshots. What is long is told to ``progress``."""

    def build(self, progress: Progress, *, fresh: bool = False) -> None:
        """Make the template's disk with the apps on it; does nothing where there is one, unless ``fresh``."""

    def exists(self) -> bool:
        """Whether there is a template's disk."""

    def boot(self, progress: Progress) -> str:
        """Start the template's machine; returns the command that logs in on it."""

    def stop(self, progress: Progress) -> None:
        """Shut the template's machine down; its disk stays."""

    def take_snapshot(self, trial: Trial, progress: Progress) -> Snapshot:
        """Copy the template, try a machine of the copy, promote it if all is well.

        The one promoted before is kept. Raises CumulusError; then nothing has changed.
        """

    def snapshots(self) -> list[Snapshot]:
        """All that can be promoted, oldest first."""

    def roll_back(self) -> str:
        """Promote the one before the promoted one; returns a sentence. Raises TemplateMissing where there is none."""

    def prune(self, keep: int, progress: Progress) -> list[str]:
        """Remove all but the newest ``keep``; returns the names of those that are gone.

        Never the promoted one, the one before it, or one that a machine was made from.
        """


class Cloud(Protocol):
    """A place where machines are made."""

    name: CloudName
    boots_after_creation: bool
    """Whether a machine that Terraform has made may still have to boot before it answers."""

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in on workers; need not exist where no worker is reached by ssh."""

    def template(self) -> Template:
        """What workers are copies of."""

    def check_snapshot(self) -> str:
        """What is worth knowing of the snapshot that workers are made from, "" for nothing.

        Raises TemplateMissing where there is none.
        """

    def current_snapshot(self) -> str:
        """The name of the snapshot that workers are made from now. Raises TemplateMissing where there is none."""

    def starts_jobs_at_boot(self) -> bool:
        """Whether a machine made now starts the job that it is made for by itself, as ``Layout.orders`` say."""

    def has_program(self, name: str) -> bool:
        """Whether workers made now have the program; True where that is not known."""

    def tried_apps(self, snapshot: str = "") -> TriedApps:
        """What is known of the apps on machines made now, or of the snapshot of that name. Raises TemplateMissing, CloudError."""

    def problems(self) -> list[str]:
        """What this computer lacks, one line each with its remedy; empty: all is there. Starts nothing."""

    def site_problems(self) -> list[str]:
        """What the cloud itself lacks or refuses, one line each with its remedy. Jobs wait for it, and a controller starts."""

    def start(self) -> None:
        """Start what the cloud needs on this computer (provider, NFS server), or adopt what runs. May be repeated."""

    def stop(self) -> None:
        """End what :meth:`start` started; what running workers still need (their storage) stays while they live."""

    def terraform_env(self) -> dict[str, str]:
        """Variables that a terraform started by the controller needs beside the inherited ones."""

    def plain_terraform_env(self) -> dict[str, str]:
        """The same for an administrator's own terraform; nothing is started or made for it."""

    def said_by_terraform(self, text: str) -> str:
        """Terraform's words with the addresses that people know, where :meth:`terraform_env` told it others."""

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables. Raises TemplateMissing where there is no snapshot.

        One that is a SecretStr is given to terraform in its environment and is in no file.
        """

    def quotas(self) -> list[Quota]:
        """What the cloud lets the project have and how much of it is used; empty where there is no such limit."""

    def require_room(self, flavor: Flavor) -> None:
        """Look whether a machine of that flavor can be made now. Raises CloudError where the quota does not allow it."""

    def warm_up(self, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        """Make what lets later machines of that flavor start sooner, where something is missing; may take minutes.

        Gives up soon after ``unwanted`` says so. Raises CumulusError where it cannot be made.
        """

    def sizes(self) -> Sequence[Size] | None:
        """The machine sizes that the cloud has; None where it has none of its own and takes any. Raises CumulusError."""

    def next_boot(self, flavor: Flavor) -> str:
        """How a machine of that flavor would start now: ``warm``, or ``cold: why``; "" where the cloud knows no difference."""

    def tidy(self, now: float) -> None:
        """Remove what was made for later machines and is damaged, or of no use any more. ``now``: Unix seconds."""

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """Where and how the job whose shared folder is ``job_dir`` runs on ``worker``."""

    def admit(self, job_dir: Path) -> None:
        """Let workers do their work in a job's folder, whose orders are written. Raises OSError."""

    def resources(self, worker: str = "") -> list[Resource]:
        """All that exists under this installation's tag, or only what is of one worker."""

    def alive(self, worker: str) -> bool:
        """Whether the worker's machine exists and runs."""

    def take_up(self, worker: str, module: TerraformModule) -> None:
        """Have Terraform go on with what an apply that broke off has made of the worker, instead of making it anew.

        ``module``: the worker's. Raises StillCopying while its disk is being copied, CloudError, TerraformError.
        """

    def is_copying(self, worker: str) -> bool:
        """Whether the cloud copies the worker's disk, or has just ended, and nothing came of it yet. Raises CloudError."""

    def memory_use(self, worker: str) -> MemoryUse | None:
        """What the worker's machine takes of this computer; None where it does not run here."""

    def delete(self, resource: Resource) -> None:
        """Remove one resource; not an error where it is gone already."""

    def console_log(self, worker: str) -> str:
        """The last lines of the machine's console, "" where there is none."""

    def fault(self, worker: str) -> str:
        """Why the machine failed, in the cloud's own words; "" where it did not, or nobody knows."""
