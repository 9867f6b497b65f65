"""Which Debian packages the template is made of, and the downloaded files that are kept for the next one.

Owns the list and the cache, not how packages are unpacked. What the roles install is read from the roles, so that one
run of apt installs everything and the roles' own tasks find nothing left to do.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from server.errors import InvalidInput

# What a root folder needs to boot here, and to be worked on by Ansible before that. The rest is in the roles' variables.
BOOTABLE = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "openssh-server",
    "python3",
    "python3-apt",
    "rsync",
    "e2fsprogs",
)
ROLES = ("worker_base", "converters", "apps")  # an administrator's own role may need another archive first: it installs by itself
ARCHIVES = Path("var/cache/apt/archives")
KEPT_S = 90 * 86400.0


def package_variables() -> dict[str, str]:
    """The roles' variables that hold lists of packages, with the role of each."""
    return {f"{role}_packages": role for role in ROLES}


def template_packages(roles: Path, variables: Mapping[str, object]) -> tuple[str, ...]:
    """All packages of the template: what makes it bootable, and ``<role>_packages`` of each role.

    ``roles``: the folder of the roles; ``variables`` go before their defaults. Raises InvalidInput.
    """
    lists = [_packages_of(roles / role / "defaults/main.yml", name, variables) for name, role in package_variables().items()]
    # The first of several names is Debian's (infra/ansible/roles/packages).
    return tuple(dict.fromkeys([*BOOTABLE, *(name.split("|")[0] for names in lists for name in names)]))


def _packages_of(defaults: Path, variable: str, variables: Mapping[str, object]) -> list[str]:
    known: dict[str, Any] = yaml.safe_load(defaults.read_text())
    names = variables.get(variable, known[variable])
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{variable} must be a list of names of Debian packages", field="setting template_variables")
    return list(names)


@dataclass(frozen=True)
class PackageCache:
    """A folder of downloaded packages. They are linked, not copied, where the file system can.

    Several builds may share it. Packages are offered to apt, which takes those of the right size; dpkg notices one that is
    damaged. ``now``: Unix seconds.
    """

    folder: Path
    now: Callable[[], float] = time.time

    def offer(self, root: Path) -> int:
        """Put the packages where apt in the root folder looks for them; returns how many."""
        archives = root / ARCHIVES
        archives.mkdir(parents=True, exist_ok=True)
        return sum(_link(package, archives / package.name) for package in self.folder.glob("*.deb"))

    def collect(self, root: Path) -> None:
        """Take what apt has downloaded out of the root folder; apt puts a package there once its checksum was right.

        Removes what was downloaded more than three months ago.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for package in (root / ARCHIVES).glob("*.deb"):
            self._take(package)
        for package in self.folder.glob("*.deb"):
            with suppress(FileNotFoundError):  # another build removed it
                if package.stat().st_mtime < self.now() - KEPT_S:
                    package.unlink()

    def _take(self, package: Path) -> None:
        kept = self.folder / package.name
        if kept.exists():  # that is where it came from
            package.unlink()
            return
        os.utime(package, (self.now(), self.now()))  # apt gives a file the time that the mirror tells
        _move(package, kept)

    def clear(self) -> None:
        """Forget all packages: one of them is damaged."""
        for package in self.folder.glob("*.deb"):
            package.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileNotFoundError:  # another build removed it
        return False
    except OSError:  # another file system
        shutil.copyfile(source, target)
    return True


def _move(source: Path, target: Path) -> None:
    """Only whole files ever carry a package's name there."""
    beside = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        source.rename(beside)
    except OSError:  # another file system
        shutil.copyfile(source, beside)
        source.unlink()
    beside.rename(target)
