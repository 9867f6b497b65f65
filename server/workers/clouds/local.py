"""The cloud ``local``: no machines at all, for tests and development. A job runs on this computer as the controller's user.

In a machine's place there is a folder ``$CUMULUS_HOME/local/<worker>/`` that the local Terraform module makes and removes,
together with what still runs in it; the rest of the controller cannot tell the difference. Tests inject faults: :attr:`faults`
maps a worker's name to a shell command that Terraform runs while it makes that machine.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from server.catalog.flavors import Flavor
from server.home.files import clear, is_set_aside, own_folder
from server.progress import Progress
from server.settings import CHECKOUT, CloudName, Settings
from server.workers.clouds.base import Cloud, Layout, Resource, worker_variables
from server.workers.clouds.images import SmokeTest, Snapshot
from server.workers.clouds.installed_apps import OwnApps
from server.workers.clouds.smoke_results import SmokeResults

RUNNER = CHECKOUT / "infra" / "ansible" / "roles" / "worker_base" / "files" / "cumulus-runner"
SNAPSHOT = "local"


class LocalTemplate:
    """There is nothing to build: this computer is the template."""

    def build(self, progress: Progress, *, fresh: bool = False) -> None:  # noqa: ARG002
        """Says so."""
        progress.say("The local cloud has no template: jobs use the programs of this computer")

    def exists(self) -> bool:
        """This computer is always there."""
        return True

    def boot(self, progress: Progress) -> str:  # noqa: ARG002
        """Says so."""
        return "true  # the local cloud has no machine to log in on"

    def stop(self, progress: Progress) -> None:
        """Nothing runs."""

    def take_snapshot(self, test: SmokeTest, progress: Progress) -> Snapshot:  # noqa: ARG002
        """There is one for ever."""
        return self.snapshots()[0]

    def snapshots(self) -> list[Snapshot]:
        """The only one."""
        return [Snapshot(SNAPSHOT, promoted=True, created=0)]

    def roll_back(self) -> str:
        """Says so."""
        return "The local cloud has no snapshots"

    def prune(self, keep: int, progress: Progress) -> list[str]:  # noqa: ARG002
        """The only one is in use."""
        return []


class LocalImages:
    """This computer itself: its programs are those that jobs find."""

    def __init__(self) -> None:
        self._own_apps = OwnApps()

    def template(self) -> LocalTemplate:
        """This computer."""
        return LocalTemplate()

    def check(self) -> str:
        """No hint: there is nothing to build."""
        return ""

    def current(self) -> str:
        """The only one."""
        return SNAPSHOT

    def starts_jobs_at_boot(self) -> bool:
        """Nothing boots."""
        return False

    def has_program(self, name: str) -> bool:
        """Whether this computer has it."""
        return shutil.which(name) is not None

    def smoke_results(self, snapshot: str = "") -> SmokeResults:  # noqa: ARG002
        """Each app is tested here when it is first asked for."""
        return self._own_apps


class LocalCloud(Cloud):
    """One installation's pretended machines. ``images``: others than this computer's programs, in tests."""

    name = CloudName.LOCAL
    images: LocalImages

    def __init__(self, settings: Settings, server_id: str, images: LocalImages | None = None) -> None:
        self.images = images or LocalImages()
        self._settings = settings
        self._server_id = server_id

    @property
    def ssh_key(self) -> Path:
        """Nobody logs in: there need not be one."""
        return self._settings.home / "local" / "no-key"

    @property
    def faults(self) -> Mapping[str, str]:
        """Worker -> shell command run while its machine is made; a failing one makes the creation fail half-way."""
        return {}

    def problems(self) -> list[str]:
        """It needs nothing but this Python."""
        return [] if RUNNER.is_file() else [f"{RUNNER} is missing: restore the checkout"]

    def start(self) -> None:
        """Make the folder of the machines."""
        own_folder(self._machines)

    def terraform_env(self) -> dict[str, str]:
        """What the module's provisioners need: where the machines are, and what ends a job."""
        stop = " ".join(shlex.quote(word) for word in (sys.executable, str(RUNNER), "stop", "--work-dir"))
        faults = "".join(f"{shlex.quote(worker)}) {command} ;; " for worker, command in self.faults.items())
        return {"CUMULUS_LOCAL_MACHINES": str(self._machines), "CUMULUS_LOCAL_STOP": stop, "CUMULUS_LOCAL_FAULTS": faults}

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables."""
        disk_gb = flavor.disk_gb or self._settings.worker_disk_gb
        key, snapshot = "ssh-none none", self.images.current()
        return worker_variables(self._server_id, worker, flavor, disk_gb=disk_gb, snapshot=snapshot, ssh_public_key=key)

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """The job works in the machine's folder, under the runner that workers have, too."""
        work = str(self._machines / worker / "job")
        data = str(self._settings.storage / "data")
        runner = (sys.executable, str(RUNNER))
        start = (*runner, "start", "--job-dir", str(job_dir), "--data-dir", data, "--work-dir", work)
        stop, status = ((*runner, word, "--work-dir", work) for word in ("stop", "status"))
        return Layout("shell", work, str(job_dir), start, stop, status)

    def resources(self, worker: str = "") -> list[Resource]:
        """A machine for each folder."""
        folders = self._machines.iterdir() if self._machines.is_dir() else ()
        names = sorted(entry.name for entry in folders if worker in ("", entry.name) and not is_set_aside(entry))
        return [Resource("machine", name, str(self._machines / name), self.alive(name)) for name in names]

    def alive(self, worker: str) -> bool:
        """Whether the machine is there; once a job has begun on it, whether the job's runner lives."""
        work = self._machines / worker / "job"
        return work.parent.is_dir() and (
            not work.exists() or any(_mentions(process, str(work)) for process in psutil.process_iter())
        )

    def delete(self, resource: Resource) -> None:
        """End what runs in the folder and remove it."""
        folder = self._machines / resource.worker
        _end_all_in(folder)
        clear(folder)

    @property
    def _machines(self) -> Path:
        return self._settings.home / "local"


def _mentions(process: psutil.Process, word: str) -> bool:
    try:
        return word in process.cmdline()
    except psutil.Error:
        return False


def _end_all_in(folder: Path) -> None:
    """Kill the processes whose working directory is in the folder."""
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()
        except psutil.Error:
            continue  # it ended, or is another user's
