"""The shared storage on a virtual machine, mounted by system calls: each program that mount(8) starts costs a slow guest 0.2 s.

Owns the mount points: all of the storage where only root comes (``STORAGE``), and what a job may see of it: ``DATA``, read-only,
and ``JOB``.
"""

from __future__ import annotations

import ctypes
import os
import socket

from cumulus_runner.errors import RunnerError

STORAGE = "/run/cumulus/nfs"
DATA = "/srv/data"
JOB = "/srv/job"
# sec=sys: else the kernel asks the server first, and a mount takes an emulated processor 0.6-1.3 s instead of 0.35-0.5 s.
# A file that is missing now is asked for again next time (the request to stop is one); attributes are believed for 3 s.
OPTIONS = "vers=4.2,sec=sys,hard,lookupcache=positive,acregmax=3,acdirmax=3"
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_NOATIME, MS_BIND = 1, 2, 4, 32, 1024, 4096
MNT_DETACH = 2
CLONE_NEWNS = 0x20000
SAFE = MS_NOSUID | MS_NODEV | MS_NOATIME
LIBC = ctypes.CDLL(None, use_errno=True)


def mount_storage(server: str, port: int) -> None:
    """Mount all that the server shows, instead of what an earlier job had. Raises RunnerError."""
    os.makedirs(STORAGE, exist_ok=True)
    os.chmod(os.path.dirname(STORAGE), 0o700)
    try:
        unmount_all()
        source, options = nfs_words(server, address(server))
        _mount(source, STORAGE, "nfs4", SAFE, f"{OPTIONS},port={port},{options}")
    except OSError as problem:
        raise RunnerError(f"the storage at {server}:{port} cannot be mounted: {problem.strerror}") from None


def nfs_words(server: str, found: str) -> tuple[str, str]:
    """What is mounted, and the options that tell the kernel where it is. ``found``: the server's address."""
    source = f"[{server}]:/" if ":" in server else f"{server}:/"
    return source, f"proto={'tcp6' if ':' in found else 'tcp'},addr={found}"


def address(server: str) -> str:
    """The server's address: IPv4 where it has one and there is a way to it, else IPv6. Raises OSError."""
    found = socket.getaddrinfo(server.encode(), None, type=socket.SOCK_STREAM)  # as bytes: a str loads the tables of IDNA
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    addresses = [(family, str(place[0])) for family, _, _, _, place in found]
    return next((one for family, one in addresses if _is_reached(family, one)), addresses[0][1])


def _is_reached(family: int, where: str) -> bool:
    """Whether this machine has a route to the address; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((where, 2049))
    except OSError:
        return False
    return True


def show_job(name: str) -> str:
    """Give one job's folder and the data their places; returns the folder's path for the runner. Raises RunnerError."""
    folder = os.path.join(STORAGE, "jobs", name)
    try:
        _bind(os.path.join(STORAGE, "data"), DATA, MS_RDONLY)
        _bind(folder, JOB, 0)
    except OSError as problem:
        raise RunnerError(f"the storage has no folder for {name}: {problem.strerror}") from None
    return folder


def hide_writable_job() -> None:
    """From here on this process and its children see ``JOB`` read-only; who knows ``STORAGE`` and is root still writes there.

    Raises RunnerError.
    """
    try:
        if LIBC.unshare(CLONE_NEWNS):
            raise _failure(JOB)
        _mount("", JOB, "", MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE, "")
    except OSError as problem:
        raise RunnerError(f"the job's folder cannot be protected from its app: {problem.strerror}") from None


def unmount_all() -> None:
    """Give the storage back, whatever of it is mounted and whether it answers or not. Raises OSError."""
    for target in (JOB, DATA, STORAGE):
        for _ in range(mounted().count(target)):
            _unmount(target)


def mounted() -> list[str]:
    """All mount points, without a look at what is mounted: a server that is gone holds nobody up."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        return [line.split(" ")[1] for line in file]


def _bind(source: str, target: str, flags: int) -> None:
    os.makedirs(target, exist_ok=True)
    for _ in range(mounted().count(target)):
        _unmount(target)
    _mount(source, target, "", MS_BIND, "")
    if flags:
        _mount("", target, "", MS_REMOUNT | MS_BIND | SAFE | flags, "")


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        raise _failure(target)


def _unmount(target: str) -> None:
    if LIBC.umount2(target.encode(), MNT_DETACH):
        raise _failure(target)


def _failure(path: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
