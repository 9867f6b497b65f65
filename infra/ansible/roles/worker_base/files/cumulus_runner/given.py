"""The job that a machine was made for, as its cloud wrote it on the machine's config drive; the machine then asks nobody for it.

Owns the form of these orders on this side (``infra/terraform/openstack/worker`` has the other): three values of the server's
metadata. They name a folder in the storage, where the job's plan lies, and are no secret.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import time
from dataclasses import dataclass

from cumulus_runner.errors import RunnerError
from cumulus_runner.mounts import LIBC, MNT_DETACH, MS_NODEV, MS_NOSUID, MS_RDONLY

DEVICES = ("/dev/disk/by-label/config-2", "/dev/disk/by-label/CONFIG-2", "/dev/sr0")
FORMATS = ("iso9660", "vfat")
PLACE = "/run/cumulus/config"
METADATA = "openstack/latest/meta_data.json"
SERVER = r"[A-Za-z0-9.:-]{1,253}"
PORT = r"\d{1,5}"
JOB = r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}"
WORKER = r"[a-z0-9][a-z0-9-]{0,62}"
STORAGE = re.compile(rf"(?P<server>{SERVER}) (?P<port>{PORT})")
MAX_METADATA = 1 << 20  # bytes
CLOUD_INIT = "/run/cloud-init"
DISK_LIMIT_S = 300.0
REACH_LIMIT_S = 60.0  # then whoever logs in here gives the order, or is told that the storage is away
TRY_LIMIT_S = 3.0
PAUSE_S = 0.1


@dataclass(frozen=True)
class Given:
    """A job's folder in the storage at ``server``, and the name of the machine that is to run it."""

    server: str
    port: int
    job: str
    worker: str


def read_given() -> Given | None:
    """What the machine was made for; None where it is to wait for orders. Raises RunnerError where that cannot be known."""
    device = next((path for path in DEVICES if os.path.exists(path)), None)
    if device is None:
        return None
    os.makedirs(PLACE, mode=0o700, exist_ok=True)
    os.chmod(os.path.dirname(PLACE), 0o700)
    _mount(device)
    try:
        with open(os.path.join(PLACE, METADATA), encoding="utf-8") as file:
            return given_in(file.read(MAX_METADATA))
    except OSError as problem:
        raise RunnerError(f"the config drive cannot be read: {problem.strerror}: {problem.filename}") from None
    finally:
        LIBC.umount2(PLACE.encode(), MNT_DETACH)


def given_in(metadata: str) -> Given | None:
    """The orders in a server's metadata. Raises RunnerError where there are some that nobody could obey."""
    try:
        found = json.loads(metadata).get("meta") or {}
        job, storage, worker = (str(found.get(f"cumulus_{name}") or "") for name in ("job", "storage", "worker"))
    except (ValueError, AttributeError):
        raise RunnerError("the config drive's metadata cannot be read") from None
    if not job:
        return None
    place = STORAGE.fullmatch(storage)
    if not (place and re.fullmatch(WORKER, worker) and re.fullmatch(JOB, job)):
        raise RunnerError(f"these are no orders: job {job[:100]!r}, storage {storage[:100]!r}, worker {worker[:100]!r}")
    return Given(place["server"], int(place["port"]), job, worker)


def await_disk(place: str = CLOUD_INIT, limit_s: float = DISK_LIMIT_S) -> None:
    """Where cloud-init is at work, return once its second stage is over, in which the disk gets its size; late is no error."""
    deadline = time.monotonic() + limit_s
    while os.path.exists(os.path.join(place, "enabled")) and not _is_set_up(place) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)


def _is_set_up(place: str) -> bool:
    try:
        with open(os.path.join(place, "status.json"), encoding="utf-8") as file:
            return bool(json.load(file)["v1"]["init"]["finished"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def await_server(server: str, port: int, limit_s: float = REACH_LIMIT_S) -> None:
    """Return once it takes a connection: the network may still be coming up. Raises RunnerError after ``limit_s`` seconds."""
    deadline = time.monotonic() + limit_s
    while problem := _unreachable(server, port):
        if time.monotonic() > deadline:
            raise RunnerError(f"the storage at {server}:{port} does not answer: {problem.strerror or problem}")
        time.sleep(PAUSE_S)


def _unreachable(server: str, port: int) -> OSError | None:
    try:
        socket.create_connection((server, port), TRY_LIMIT_S).close()
    except OSError as problem:
        return problem
    return None


def _mount(device: str) -> None:
    for kind in FORMATS:
        if not LIBC.mount(device.encode(), PLACE.encode(), kind.encode(), MS_RDONLY | MS_NOSUID | MS_NODEV, b""):
            return
    problem = os.strerror(ctypes.get_errno())
    raise RunnerError(f"the config drive {device} cannot be mounted: {problem}")
