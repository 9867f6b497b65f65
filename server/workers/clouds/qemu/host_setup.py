"""What this computer lacks for the qemu cloud, in words that say how to get it. Looks only."""

import os
import shutil
from pathlib import Path

import psutil

from server.errors import SetupMissing
from server.workers.clouds.qemu.accelerator import QEMU
from server.workers.clouds.qemu.network.nfs_problems import nfs_problems
from server.workers.terraform.module import terraform_binary

PROGRAMS = {
    QEMU: "apt-get install qemu-system-x86",
    "qemu-img": "apt-get install qemu-utils",
    "ssh": "apt-get install openssh-client",
    "findmnt": "apt-get install util-linux",
    "setpriv": "apt-get install util-linux",
    "unshare": "apt-get install util-linux",
    "mount": "apt-get install mount",
}
BUILD_PROGRAMS = {
    "mmdebstrap": "apt-get install mmdebstrap",
    "mkfs.ext4": "apt-get install e2fsprogs",
}
SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
MIN_DISK_GB = 3.0
MIN_MEMORY_GB = 1.0
BUILD_DISK_GB = 6.0
GB = 1_000_000_000


def setup_problems(home: Path) -> list[str]:
    """What is missing to run workers, one line each with its remedy."""
    return [*_terraform(), *_programs(PROGRAMS), *nfs_problems(), *_disk(home, MIN_DISK_GB), *_memory()]


def build_problems(home: Path) -> list[str]:
    """What is missing to build the template, beside that."""
    rights = [] if os.geteuid() == 0 else ["building the template needs root rights: run it as root (sudo)"]
    return [*_programs(BUILD_PROGRAMS), *rights, *_disk(home, BUILD_DISK_GB)]


def find_program(name: str) -> str | None:
    """Its path; also where a login's PATH does not lead."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(SYSTEM_FOLDERS))


def _terraform() -> list[str]:
    try:
        terraform_binary()
    except SetupMissing as problem:
        return [problem.message]
    return []


def _programs(wanted: dict[str, str]) -> list[str]:
    return [f"{name} is not installed: {remedy}" for name, remedy in wanted.items() if find_program(name) is None]


def _disk(home: Path, wanted_gb: float) -> list[str]:
    folder = next(path for path in (home, *home.parents) if path.exists())
    free_gb = shutil.disk_usage(folder).free / GB
    if free_gb >= wanted_gb:
        return []
    return [f"{free_gb:.1f} GB are free below {folder}, {wanted_gb:.0f} GB are needed: make room, or set CUMULUS_HOME"]


def _memory() -> list[str]:
    available_gb = psutil.virtual_memory().available / GB
    if available_gb >= MIN_MEMORY_GB:
        return []
    return [f"{available_gb:.1f} GB of memory are available, {MIN_MEMORY_GB:.0f} GB are needed: end other programs"]
