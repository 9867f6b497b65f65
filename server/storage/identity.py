"""Whose storage this is: the file ``.cumulus-installation`` at its top. Who holds it is known to :mod:`server.storage.holding`.

Owns the file, and what job folders without one look like. Which installation may take which storage is decided in
:mod:`server.engine.records.storage_owner`.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from programs.errors import explained
from server.errors import CumulusError
from server.storage.folders import JobFolder, Storage, StorageUnusable
from server.storage.regular import read_regular

NAME = ".cumulus-installation"
ABOUT = "The id of the Cumulus installation that this storage belongs to; see `cumulus storage adopt --help`."
INSPECTED = 200  # job folders
MAX_BYTES = 10_000


class StorageInUse(CumulusError):
    """Another controller, or a command that must be alone, works on the storage."""

    code = "storage_in_use"


class IdentityUnreadable(CumulusError):
    """The file that says whose the storage is cannot be read, or says something else."""

    code = "storage_identity_unreadable"


class _Identity(BaseModel):
    """The file's content. ``since``: Unix seconds."""

    model_config = ConfigDict(extra="ignore")

    installation: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    since: float
    about: str = ABOUT


def identity_path(root: Path) -> Path:
    """The file of the storage's id."""
    return root / NAME


def read_identity(root: Path) -> str | None:
    """The id of the installation that the storage belongs to; None where there is none. Raises IdentityUnreadable."""
    path = identity_path(root)
    try:
        return _Identity.model_validate_json(read_regular(path, MAX_BYTES)).installation
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise _unreadable(path, explained(problem)) from None
    except ValidationError:
        raise _unreadable(path, "it is not what Cumulus has written") from None


def write_identity(root: Path, installation: str) -> str:
    """Say whose the storage is, unless that is said already; returns whose it is then. Survives a power cut.

    Raises StorageUnusable, IdentityUnreadable.
    """
    path = identity_path(root)
    beside = root / f"{NAME}.{secrets.token_hex(6)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with beside.open("x") as file:
            file.write(_Identity(installation=installation, since=time.time()).model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was quicker
            _named(beside, path)
        _flush_folder(root)
    except OSError as problem:
        raise StorageUnusable(f"the storage {root} cannot be used: {explained(problem)}") from None
    finally:
        with suppress(OSError):
            beside.unlink()
    return read_identity(root) or installation


def set_identity_aside(root: Path) -> None:
    """Take an unreadable id out of the way; it is kept beside. Raises StorageUnusable."""
    path = identity_path(root)
    try:
        path.rename(root / f"{NAME}.unreadable-{secrets.token_hex(3)}")
    except OSError as problem:
        raise StorageUnusable(f"the storage {root} cannot be used: {explained(problem)}") from None


def are_formers(storage: Storage, names: Iterable[str]) -> bool:
    """Whether these folders are of the former Cumulus server (2.x); inspects some of them."""
    return any(is_formers(storage.folder(name)) for name in islice(names, INSPECTED))


def is_formers(folder: JobFolder) -> bool:
    """Whether the former server has made the folder: its ``.cumulus.settings`` is the request, with the form as text."""
    try:
        request = json.loads(folder.private.text("settings"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(request, dict) and {"app_name", "strategy"} <= request.keys() and isinstance(request.get("settings"), str)


def _named(beside: Path, path: Path) -> None:
    """Give the file its name where it is free. Raises FileExistsError, OSError."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        content = beside.read_bytes()
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems have no flush of folders
            os.fsync(handle)
    finally:
        os.close(handle)


def _unreadable(path: Path, why: str) -> IdentityUnreadable:
    return IdentityUnreadable(
        f"{path} should say which installation this storage belongs to, and cannot be read: {why}. "
        "Restore it from a backup; or, where you know that the storage is this installation's, run `cumulus storage adopt`"
    )
