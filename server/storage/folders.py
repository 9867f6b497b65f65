"""The shared directory and the job folders in it: the way to all files that the controller and its workers share.

:class:`JobFolder` makes a job's folder; who writes what in it, and in which format, is said by the parts in
:mod:`server.storage.job_folder` (``docs/architecture.md`` lists the files).
"""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from programs.errors import explained
from server.errors import CumulusError
from server.storage.job_folder.documents import Documents
from server.storage.job_folder.files import PrivateFiles
from server.storage.job_folder.instructions import Instructions
from server.storage.job_folder.log import JobLog
from server.storage.job_folder.names import ARCHIVE, ARRIVED, HALF_WRITTEN, RECORD
from server.storage.job_folder.reports import Reports
from server.storage.job_folder.results import Results, entries
from server.storage.ledger import Ledger
from server.storage.paths import PRIVATE_PREFIX

_OF_A_JOB = re.compile(r"Job_(?P<id>[1-9][0-9]{0,14})_.*", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class FolderGone(CumulusError):
    """A job's folder is not where it was made."""

    code = "folder_gone"


class StorageUnusable(CumulusError):
    """The storage's folders are not there and cannot be made."""

    code = "storage_unusable"


class JobFolder:
    """A job's folder in the storage.

    ``instructions``: what the controller writes for the worker. ``reports``: what the worker's runner writes for the controller.
    ``documents``: form, manifest and record. ``log``, ``results``: what the app left. ``private``: any other unlisted file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.private = PrivateFiles(path)
        self.instructions = Instructions(self.private)
        self.reports = Reports(path, self.private)
        self.documents = Documents(path, self.private)
        self.log = JobLog(self.private)
        self.results = Results(self.output)

    @property
    def name(self) -> str:
        """The folder's name, unique in the storage."""
        return self.path.name

    @property
    def input(self) -> Path:
        """Where files of this job alone arrive."""
        return self.path / "input"

    @property
    def output(self) -> Path:
        """Where the results arrive."""
        return self.path / "output"

    def require(self) -> None:
        """Raises FolderGone where there is no such folder, OSError where that cannot be seen."""
        if not self.path.is_dir():
            raise FolderGone(f"{self.name} is not in the storage")

    def create(self, settings: str) -> None:
        """Make the folder with the form's settings (JSON text) in it. Raises OSError, FileExistsError where there is one."""
        self.path.mkdir(parents=True)
        self.input.mkdir()
        self.output.mkdir()
        self.private.path("settings").write_text(settings)

    def remove(self) -> None:
        """Remove the folder with all that is in it; not an error where it is not there."""
        shutil.rmtree(self.path, ignore_errors=True)

    def is_untouched(self) -> bool:
        """Whether nobody has put anything into the folder since it was made: nobody sent a file, no runner began."""
        own = {self.private.path("settings").name, self.private.path("job").name, RECORD, ARRIVED, "input", "output"}
        try:
            found = {entry.name for entry in os.scandir(self.path) if not HALF_WRITTEN.fullmatch(entry.name)}
            return found <= own and not any(entries(str(part)) for part in (self.input, self.output))
        except OSError:
            return False

    def content(self) -> list[Path]:
        """All in the folder but the few files that stay when the job is archived."""
        with suppress(OSError):
            found = list(os.scandir(self.path))
            return sorted(
                Path(one.path) for one in found if not (ARCHIVE.fullmatch(one.name) and one.is_file(follow_symlinks=False))
            )
        return []

    def take(self, source: Path, name: str) -> None:
        """Put a file or folder of the same storage into ``input/``, as hard links; nothing where it is already. Raises OSError.

        Symbolic links in it are left out: they may lead anywhere.
        """
        target, beside = self.input / name, self.input / f"{PRIVATE_PREFIX}part"
        if target.exists():
            return
        if source.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(source, beside, copy_function=os.link, ignore=_symlinks)
        else:
            beside.unlink(missing_ok=True)
            os.link(source, beside)
        beside.rename(target)

    def has_arrived(self) -> bool:
        """Whether the sender has said that all files are there."""
        return self.private.path("rsync").exists()

    def mark_arrived(self) -> None:
        """Record that all files are there; the sender's last act."""
        self.private.path("rsync").touch()


class Storage:
    """The shared directory. ``require_own``: raises where it was found to be another installation's by now.

    ``ledger``: what is known of jobs beside their folders.
    """

    def __init__(self, root: Path, require_own: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self.require_own = require_own
        self.ledger = Ledger(root)

    @property
    def data(self) -> Path:
        """The users' shared input."""
        return self.root / "data"

    @property
    def jobs(self) -> Path:
        """The job folders."""
        return self.root / "jobs"

    def prepare(self) -> None:
        """Make the top folders. Raises StorageUnusable."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.jobs.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StorageUnusable(f"the storage {self.root} cannot be used: {explained(problem)}") from None
        with suppress(OSError):  # a full storage takes no new jobs, which says so then
            self.ledger.prepare()

    def folder_path(self, name: str) -> Path:
        """Where the job folder called ``name`` is; for lists, which need no more of it."""
        return Path(f"{self.root}/jobs/{name}")

    def folder(self, name: str) -> JobFolder:
        """The job folder called ``name``."""
        return JobFolder(self.folder_path(name))

    def job_folders(self) -> dict[str, int]:
        """The names that look like job folders, of links and files, too, with the jobs' numbers."""
        with suppress(OSError), os.scandir(self.jobs) as found:
            return {entry.name: int(match["id"]) for entry in found if (match := _OF_A_JOB.fullmatch(entry.name))}
        return {}

    def is_there(self) -> bool:
        """Whether the job folders can be listed, and are ours: where not, no single job is at fault."""
        try:
            self.require_own()
            with os.scandir(self.jobs):
                return True
        except (OSError, CumulusError):
            return False

    def free_bytes(self) -> int:
        """Bytes that new files may take."""
        return shutil.disk_usage(self.root).free


def _symlinks(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_symlink()]


def folder_name(job_id: int, owner: str, app: str, created: float) -> str:
    """A job folder's name: readable, unique by the id, without characters that a shell or a file system treats specially."""
    return f"Job_{job_id}_{_UNSAFE.sub('-', owner)}_{_UNSAFE.sub('-', app)}_{int(created)}"
