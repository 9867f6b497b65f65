"""What the computer of a controller in production has to be, beside what every controller needs: doctor looks at it on OpenStack.

Owns the questions to this computer: where the storage is mounted and whom it is shown to, who may read the credentials, whether a
service starts the controller, whether the clock is right. Asks no cloud, and creates nothing that stays.
"""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from server.errors import CumulusError
from server.settings import Settings
from server.workers.terraform.module import terraform_binary

GB = 1_000_000_000
PROGRAM_LIMIT_S = 20.0
MIN_TERRAFORM = (1, 6)  # what the modules ask for
MIN_HOME_GB = 2.0
UNIT = "cumulus.service"
SET_UP = "scripts/controller.sh and infra/ansible/controller.yml do that"
_EXPORT = re.compile(r"^(?P<path>\S+)\s+(?P<client>[^\s(]+)\((?P<options>[^)]*)\)", re.MULTILINE)

Check = tuple[str, Callable[[], str]]


class NotSetUp(CumulusError):
    """This computer is not as a controller's has to be; the message says what to do."""

    code = "not_set_up"


@dataclass(frozen=True)
class Export:
    """A folder that the kernel's NFS server shows."""

    path: Path
    client: str
    options: frozenset[str]


@dataclass(frozen=True)
class Computer:
    """This computer, or one that a test describes. ``etab``: what exportfs has handed the kernel's NFS server."""

    etab: Path = Path("/var/lib/nfs/etab")
    system: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def checks(self, settings: Settings) -> tuple[Check, ...]:
        """Names and questions, in the order in which to mend what is missing. Each question raises CumulusError."""
        return (
            ("terraform version", self.terraform),
            ("credentials", self.credentials),
            ("storage mount", lambda: self.mount(settings.storage)),
            ("nfs export", lambda: self.exports(settings.storage, settings.openstack_nfs_host)),
            ("disk", lambda: self.disk(settings.home)),
            ("clock", self.clock),
            ("service", self.service),
        )

    def terraform(self) -> str:
        """The version, which must be one that the modules take."""
        said = _said([terraform_binary(), "version", "-json"])
        try:
            version = str(json.loads(said)["terraform_version"])
            number = tuple(int(part) for part in version.split(".")[:2])
        except (ValueError, KeyError, TypeError):
            raise NotSetUp("terraform does not tell its version: try `terraform version`") from None
        if number < MIN_TERRAFORM:
            raise NotSetUp(f"terraform {version} is too old, {'.'.join(map(str, MIN_TERRAFORM))} or later is needed: {SET_UP}")
        return version

    def credentials(self) -> str:
        """Whoever reads clouds.yaml can remove all machines, so that is the controller's user alone."""
        path = self._clouds_yaml()
        if path is None:
            if self.environment.get("OS_AUTH_URL"):
                return "from OS_* variables"
            raise NotSetUp("there is no clouds.yaml: put one where OS_CLIENT_CONFIG_FILE says, mode 0600")
        found = path.stat()
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NotSetUp(f"others may read {path} (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 {path}")
        if found.st_uid != os.geteuid() or not os.access(path, os.R_OK):
            raise NotSetUp(
                f"{path} does not belong to the user that runs this: chown it, or run `cumulus doctor` as the service does"
            )
        return f"{path}, for this user alone"

    def mount(self, storage: Path) -> str:
        """The storage must be no part of the system's disk, there, and writable."""
        if not storage.is_dir():
            raise NotSetUp(f"there is no folder {storage}: is the storage mounted? {SET_UP}")
        if storage.stat().st_dev == self.system.stat().st_dev:
            raise NotSetUp(f"{storage} lies on the system's disk: mount the storage's volume there; {SET_UP}")
        try:
            with tempfile.TemporaryFile(dir=storage) as file:
                file.write(b"x")
                file.flush()
        except OSError as problem:
            raise NotSetUp(f"nothing can be written in {storage}: {problem.strerror}") from None
        return f"{storage} is mounted and writable"

    def exports(self, storage: Path, host: str) -> str:
        """Workers must find the storage's data and jobs at the server's root, the data read-only, and be nobody there."""
        if not self.is_own(host):
            return f"{host or 'another computer'} shows the storage"
        exports = self._exported()
        root = next((export for export in exports if "fsid=0" in export.options or "fsid=root" in export.options), None)
        if root is None:
            raise NotSetUp(f"the NFS server has no root for workers (an export with fsid=0) in {self.etab}: {SET_UP}")
        for name, access in (("data", "ro"), ("jobs", "rw")):
            self._require_export(exports, root.path / name, storage / name, access)
        return f"data (read-only) and jobs for {root.client}"

    def is_own(self, host: str) -> bool:
        """Whether the name or address is this computer's."""
        try:
            asked = {str(info[4][0]) for info in socket.getaddrinfo(host, None)} if host else set()
        except OSError:
            return False
        return bool(asked & {address.address for link in psutil.net_if_addrs().values() for address in link})

    def disk(self, home: Path) -> str:
        """The home's file system, with database and states."""
        folder = next(path for path in (home, *home.parents) if path.exists())
        usage = shutil.disk_usage(folder)
        if usage.free / GB < MIN_HOME_GB:
            raise NotSetUp(f"only {usage.free / GB:.1f} GB are free below {folder}, {MIN_HOME_GB:.0f} are wanted: make room")
        return f"{usage.free / GB:.0f} GB free below {folder}"

    def clock(self) -> str:
        """Certificates, tokens and the times of files need it in step."""
        if _said(["timedatectl", "show", "--property=NTPSynchronized", "--value"]).strip() != "yes":
            raise NotSetUp("the clock is not in step with a time server: timedatectl; is systemd-timesyncd running?")
        return "in step with a time server"

    def service(self) -> str:
        """Started at each boot, and no start of it failed just now."""
        shown = _said(["systemctl", "show", UNIT, "--property=LoadState,UnitFileState,ActiveState,SubState"])
        state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if state.get("LoadState") != "loaded":
            raise NotSetUp(f"there is no {UNIT}: {SET_UP}")
        if state.get("UnitFileState") != "enabled":
            raise NotSetUp(f"{UNIT} is not started at boot: systemctl enable {UNIT}")
        if state.get("ActiveState") == "failed" or state.get("SubState") == "auto-restart":
            raise NotSetUp(f"{UNIT} does not start: journalctl -u {UNIT} -n 20")
        return f"{UNIT} is enabled and {state.get('ActiveState', 'unknown')}"

    def _clouds_yaml(self) -> Path | None:
        """The first that openstacksdk would read; None where there is none."""
        given = self.environment.get("OS_CLIENT_CONFIG_FILE")
        home = Path(self.environment.get("HOME", "/"))
        places = [Path(given)] if given else []
        places += [Path("clouds.yaml"), home / ".config/openstack/clouds.yaml", Path("/etc/openstack/clouds.yaml")]
        return next((place for place in places if place.is_file()), None)

    def _exported(self) -> list[Export]:
        try:
            text = self.etab.read_text()
        except OSError as problem:
            raise NotSetUp(f"what the NFS server shows cannot be read ({self.etab}: {problem.strerror}): {SET_UP}") from None
        return [
            Export(Path(found["path"]), found["client"], frozenset(found["options"].split(",")))
            for found in _EXPORT.finditer(text)
        ]

    @staticmethod
    def _require_export(exports: Sequence[Export], path: Path, folder: Path, access: str) -> None:
        export = next((export for export in exports if export.path == path), None)
        if export is None:
            raise NotSetUp(f"{path} is not exported: exportfs -v; {SET_UP}")
        if access not in export.options:
            raise NotSetUp(f"{path} must be exported {access}: see /etc/exports.d, then exportfs -ra")
        if "all_squash" not in export.options:
            raise NotSetUp(f"{path} is exported without all_squash: root of a worker would be root in the storage")
        if not (path.is_dir() and folder.is_dir() and path.samefile(folder)):
            raise NotSetUp(f"{path} is not the storage's {folder}: is srv-nfs-{folder.name}.mount active?")


THIS = Computer()


def _said(command: Sequence[str]) -> str:
    """What a program prints. Raises NotSetUp where it is not there or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, stdin=subprocess.DEVNULL, check=True
        )
    except FileNotFoundError:
        raise NotSetUp(f"{command[0]} is not there: a controller in production runs under systemd") from None
    except (OSError, subprocess.SubprocessError) as problem:
        said = (getattr(problem, "stderr", "") or str(problem)).strip().splitlines()
        raise NotSetUp(f"{Path(command[0]).name} fails: {said[-1] if said else 'it says nothing'}") from None
    return done.stdout
