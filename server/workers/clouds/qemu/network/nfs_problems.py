"""What this computer lacks for the NFS server, in words that say how to get it. Looks only."""

import os
import pwd
import shutil
from pathlib import Path

from server.workers.clouds.qemu.host.rights import closed_to
from server.workers.clouds.qemu.network.ganesha import GANESHA
from server.workers.clouds.qemu.network.private_network import network_problems

PLUGIN_FOLDERS = ("/usr/lib/x86_64-linux-gnu/ganesha", "/usr/lib/ganesha", "/usr/lib64/ganesha")
MOUNT_TABLE = Path("/etc/mtab")


def nfs_problems() -> list[str]:
    """What is missing for the server, one line each with its remedy."""
    found = []
    if shutil.which(GANESHA) is None:
        found.append(f"{GANESHA} (NFS server) is not installed: apt-get install nfs-ganesha nfs-ganesha-vfs")
    elif not any(Path(folder, "libfsalvfs.so").is_file() for folder in PLUGIN_FOLDERS):
        found.append("nfs-ganesha lacks its VFS module: apt-get install nfs-ganesha-vfs")
    if not MOUNT_TABLE.exists():
        found.append(f"{MOUNT_TABLE} is missing, where the NFS server looks for file systems: ln -s /proc/mounts {MOUNT_TABLE}")
    if os.geteuid() != 0:
        found.append("the NFS server needs root rights: run the controller as root (sudo), or set CUMULUS_CLOUD=local")
    else:
        found.extend(network_problems())
    return found


def user_problems(user: int, data: Path) -> list[str]:
    """Whether the number that workers write as is somebody's, and keeps them from the data; one line each with its remedy."""
    closed = [why] if (why := closed_to(data, user)) else []
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return closed
    return [
        *closed,
        f"workers would write to the storage as {name}, whose number {user} is: set nfs_user to one that nobody has",
    ]
