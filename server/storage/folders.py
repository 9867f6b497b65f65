"""The shared directory: where data and job folders lie, and what the controller and a worker tell each other in one.

Owns the files of a job folder (``docs/architecture.md`` lists them). Does not decide what a result means for the job.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from programs.errors import explained
from server.errors import CumulusError, NotFound
from server.storage.ledger import Ledger
from server.storage.logs.job_log import LOG_HEAD_BYTES, LOG_TAIL_BYTES, Log, shortened
from server.storage.paths import PRIVATE_PREFIX, inside
from server.storage.regular import is_regular, open_regular, read_listing, read_regular
from server.storage.report import RunReport

MAX_RESULT_BYTES = 1024 * 1024
MAX_PRIVATE_BYTES = 64 * 1024 * 1024
# What appears in a job's folder when its sender or its runner has done all it had to do.
ARRIVED, RESULT = f"{PRIVATE_PREFIX}rsync", f"{PRIVATE_PREFIX}result"
LOG = f"{PRIVATE_PREFIX}log"
FORM = "form"  # of a job that was taken over from the former server, whose `.cumulus.settings` is its whole request
RECORD = "job.json"  # the record of the run, the only file at the top of the folder that people look for
ARCHIVE = re.compile(
    RECORD.replace(".", r"\.") + "|" + re.escape(PRIVATE_PREFIX) + r"(job|settings|form|log|result|report|failure\.[0-9]{1,9})"
)
_HALF_WRITTEN = re.compile(re.escape(PRIVATE_PREFIX) + r"(job|record)\.[0-9a-f]{32}\.new")
_OF_A_JOB = re.compile(r"Job_(?P<id>[1-9][0-9]{0,14})_.*", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class FolderGone(CumulusError):
    """A job's folder is not where it was made."""

    code = "folder_gone"


class StorageUnusable(CumulusError):
    """The storage's folders are not there and cannot be made."""

    code = "storage_unusable"


@dataclass(frozen=True)
class PlannedInput:
    """One input file of a job: where it lies, what it is called for the app, and how it becomes that.

    ``shared``: in the data folder, as only jobs planned before 2.4 have any. ``keep``: what was made of it is left in the folder
    for other jobs. ``accepts``: what the app reads (docs/apps.md), None: what most do; ``rewrite``: how mzML that it does not
    read is made into one that it does. ``alone``: where the file cannot be used, the job goes on with the others of its
    ``group``, the field that names them. ``expected``: the checksum that the file must have (``sha256:…``).
    """

    name: str
    shared: bool
    target: str
    convert: tuple[str, ...] | None = None
    unless_indexed: bool = False
    keep: bool = False
    accepts: tuple[str, ...] | None = None
    rewrite: tuple[str, ...] | None = None
    alone: bool = False
    group: str = ""
    expected: str | None = None


@dataclass(frozen=True)
class PlannedRun:
    """One run of an app that takes its files one by one: the file, its name for the app, and the shell text for it."""

    name: str
    target: str
    command: str


@dataclass(frozen=True)
class Plan:
    """All that the runner on the worker needs to know beside the command; see ``.cumulus.plan``.

    ``lease_s``: seconds that the machine may go on without a word from the controller. ``results_wait_s``: how long its end waits
    for room in a full storage. ``log_limit``: bytes of the app's lines in the log. ``reserve``: bytes of a disk that a growing
    log leaves free. ``runs``: empty where the app runs once. ``stall_timeout_s``: seconds that a program may do nothing,
    ``max_tasks``: its processes and threads; 0: any number. ``internet``: the app may use it. The rest is as in
    :class:`server.catalog.model.Findings`.
    """

    job_id: int
    attempt: int
    worker: str
    cpus: int
    inputs: tuple[PlannedInput, ...]
    copy_inputs: bool = False
    end_tag: str | None = None
    end_tag_location: str | None = None
    lease_s: float = 0.0
    results_wait_s: float = 0.0
    log_limit: int = 512_000_000
    reserve: int = 0
    runs: tuple[PlannedRun, ...] = ()
    app: str = ""
    stall_timeout_s: float = 0.0
    max_tasks: int = 0
    input_error_codes: tuple[int, ...] = ()
    input_error: str = ""
    summary: str = ""
    summary_command: str = ""
    warn_if_zero: tuple[str, ...] = ()
    internet: bool = False


class RunResult(BaseModel):
    """What the runner left behind in ``.cumulus.result``: the last file that it writes. Times are Unix seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    attempt: int
    exit_code: int
    stage: str
    message: str = ""
    end_tag_seen: bool | None = None
    started: float | None = None
    ended: float | None = None


class JobFolder:
    """A job's folder in the storage."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        self._private("settings").write_text(settings)

    def remove(self) -> None:
        """Remove the folder with all that is in it; not an error where it is not there."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def manifest_path(self) -> Path:
        """Where the job's row lies as a file."""
        return self._private("job")

    def is_untouched(self) -> bool:
        """Whether nobody has put anything into the folder since it was made: nobody sent a file, no runner began."""
        own = {self._private("settings").name, self._private("job").name, RECORD, ARRIVED, "input", "output"}
        try:
            found = {entry.name for entry in os.scandir(self.path) if not _HALF_WRITTEN.fullmatch(entry.name)}
            return found <= own and not any(_entries(str(part)) for part in (self.input, self.output))
        except OSError:
            return False

    def content(self) -> list[Path]:
        """All in the folder but the few files that tell of the job once it is archived."""
        with suppress(OSError):
            found = list(os.scandir(self.path))
            return sorted(
                Path(one.path) for one in found if not (ARCHIVE.fullmatch(one.name) and one.is_file(follow_symlinks=False))
            )
        return []

    def shorten_log(self) -> None:
        """Leave of a very long log what is shown of it, where the folder takes that."""
        if self.log_is_long():
            with suppress(OSError):
                self._replace("log", shortened(self.log()))

    def log_is_long(self) -> bool:
        """Whether more was logged than is shown."""
        with suppress(OSError):
            return self.log_path.lstat().st_size > LOG_HEAD_BYTES + LOG_TAIL_BYTES
        return False

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
        return self._private("rsync").exists()

    def mark_arrived(self) -> None:
        """Say that all files are there; the sender's last act."""
        self._private("rsync").touch()

    def write_plan(self, plan: Plan, command: str, *configs: tuple[str, str] | None) -> None:
        """Leave the runner its orders; ``configs``: suffix and text of each config file."""
        for config in configs:
            if config is not None:
                self._replace(f"settings.{config[0]}", config[1])
        self._replace("cmd", command + "\n")
        self._replace("plan", json.dumps(asdict(plan), indent=1) + "\n")

    def require_own_files(self) -> None:
        """Raises OSError where the runner would write into something else than a file of its own, or wait for ever to."""
        for name in ("log", "alive", "pid", "host"):
            is_regular(self._private(name))

    def has_started(self, attempt: int) -> bool:
        """Whether the runner took this attempt up: from then on it must not be started again.

        Raises OSError where what is there cannot be the runner's.
        """
        return is_regular(self._private(f"attempt.{attempt}"))

    def result(self, attempt: int) -> RunResult | None:
        """What the runner left behind for this attempt; None while it has not, or left garbage."""
        try:
            result = self._result()
        except (OSError, ValidationError):
            return None
        return result if result.attempt == attempt else None

    def report(self, attempt: int) -> RunReport | None:
        """What the runner told of this attempt beside its result; None where it told nothing, or garbage."""
        try:
            report = RunReport.model_validate_json(read_listing(self._private("report"), MAX_PRIVATE_BYTES))
        except (OSError, ValidationError):
            return None
        return report if report.attempt == attempt else None

    def has_unreadable_result(self) -> bool:
        """Whether something lies in the result's place that is none: an app may have run here, and nobody knows how it ended."""
        try:
            self._result()
        except FileNotFoundError:
            return False
        except (OSError, ValidationError):
            return True
        return False

    def forget_unreadable_result(self) -> None:
        """Clear the result's place of what is none, before an attempt. Raises OSError."""
        if self.has_unreadable_result():
            path = self._private("result")
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def heartbeat(self) -> float | None:
        """When the runner was last alive by the storage's clock, Unix seconds; None before its first sign."""
        try:
            return self._private("alive").stat().st_mtime
        except OSError:
            return None

    def converted_files(self, attempt: int) -> list[Path]:
        """What the runner has left of the inputs it converted in this attempt, whole; the names end with the inputs' numbers."""
        folder = self._private("converted")
        if folder.is_symlink():
            return []
        try:
            return sorted(path for path in folder.iterdir() if re.fullmatch(rf"{attempt}\.[0-9]{{1,6}}", path.name))
        except OSError:
            return []

    def renew_lease(self) -> None:
        """Tell the runner that the controller still wants its machine. Needs no room once the file is there."""
        lease = self._private("lease")
        with suppress(OSError):  # the next renewal may succeed
            if _is_regular(lease):
                os.utime(lease, follow_symlinks=False)
                return
            lease.unlink(missing_ok=True)  # a link would lead elsewhere
            lease.touch(exist_ok=False)

    def ask_to_stop(self) -> None:
        """Tell a runner that may be at work to end the app; harmless where there is none, or no way to tell it."""
        with suppress(OSError):  # its machine is removed anyway
            if self.path.is_dir():
                self._private("stop").touch()

    def results_wait(self) -> bool:
        """Whether the run has ended and what it leaves waits on its machine for room in the storage."""
        return self._private("full.results").exists()

    def log_waits(self) -> bool:
        """Whether the log grows on the machine alone, since the storage has too little room."""
        return self._private("full.log").exists()

    def outputs(self) -> list[tuple[str, int]]:
        """The result files as (path relative to ``output/``, bytes), sorted; links that lead to none are left out."""
        return sorted(self.each_output())

    def each_output(self) -> Iterator[tuple[str, int]]:
        """The same one by one, as they are found."""
        return iter(()) if self.output.is_symlink() else _files(self.output)

    def output_file(self, relative: str) -> Path:
        """The path of one of the result files. Raises InvalidInput, NotFound."""
        if self.output.is_symlink():  # it leads elsewhere, and so would all below it
            raise NotFound(f"{self.name} has no results", field="path")
        return inside(self.output, relative)

    @property
    def log_path(self) -> Path:
        """Where the runner copies the job's log to while it grows."""
        return self._private("log")

    def log(self) -> str:
        """The job's log; of a very long one the beginning and the end."""
        return Log(self.log_path).text()

    def log_from(self, position: int) -> tuple[str, int]:
        """What the log has from byte ``position`` on, in whole lines, and where to go on."""
        try:
            with open_regular(self.log_path) as file:
                file.seek(position)
                part = file.read(LOG_TAIL_BYTES)
        except OSError:
            return "", position
        whole = part[: part.rfind(b"\n") + 1] if len(part) < LOG_TAIL_BYTES else part
        return whole.decode(errors="replace"), position + len(whole)

    def keep(self, name: str, text: str) -> None:
        """Keep a text (a failed tool's output) with the job, unlisted. Raises OSError."""
        if self.path.is_dir():
            self._replace(name, text)

    def write_record(self, text: str) -> None:
        """Put the record of the run in place of the former one, where the folder is there. Raises OSError."""
        if self.path.is_dir():
            self._replace("record", text, self.path / RECORD)

    def record_text(self, limit: int | None = None) -> str:
        """The record of the run, or its first ``limit`` bytes. Raises OSError."""
        if limit is None:
            return read_listing(self.path / RECORD, MAX_PRIVATE_BYTES).decode(errors="replace")
        with open_regular(self.path / RECORD) as file:
            return file.read(limit).decode(errors="replace")

    def last_attempt(self) -> int:
        """The number of the last attempt that a runner took up; 0: none."""
        with suppress(OSError):
            found = [re.fullmatch(r"\.cumulus\.attempt\.([1-9][0-9]{0,8})", entry.name) for entry in os.scandir(self.path)]
            return max((int(one[1]) for one in found if one), default=0)
        return 0

    def planned_worker(self, attempt: int) -> str:
        """The machine that the orders of an attempt are for; "" where they are for another attempt, or garbage."""
        try:
            plan = json.loads(self.private_text("plan"))
            return str(plan["worker"]) if plan["attempt"] == attempt else ""
        except (OSError, ValueError, TypeError, KeyError):
            return ""

    def has_form(self) -> bool:
        """Whether the form that the job was submitted with lies there, as in every job's folder from its beginning."""
        return _is_regular(self._private("settings"))

    def is_asked_to_stop(self) -> bool:
        """Whether somebody wants no more of the job."""
        return self._private("stop").exists()

    def is_taken_over(self) -> bool:
        """Whether the job was the former server's (server/services/former_server)."""
        return os.path.lexists(self._private(FORM))

    def form_text(self) -> str:
        """The form as JSON text. Raises OSError."""
        return self.private_text(FORM if self.is_taken_over() else "settings")

    def private_text(self, name: str) -> str:
        """One of the files that users do not see. Raises OSError."""
        return read_regular(self._private(name), MAX_PRIVATE_BYTES).decode(errors="replace")

    def _result(self) -> RunResult:
        return RunResult.model_validate_json(read_regular(self._private("result"), MAX_RESULT_BYTES))

    def _private(self, name: str) -> Path:
        return self.path / f"{PRIVATE_PREFIX}{name}"

    def _replace(self, name: str, text: str, target: Path | None = None) -> None:
        beside = self._private(f"{name}.{uuid4().hex}.new")  # of this writer alone: others may be at the same file
        try:
            with beside.open("x", errors="replace") as file:
                file.write(text)
            beside.rename(target or self._private(name))
        except OSError:
            beside.unlink(missing_ok=True)  # half of it in a full storage, which has no room for it
            raise


class Storage:
    """The shared directory. ``require_own``: raises where it was found to be another installation's by now."""

    def __init__(self, root: Path, require_own: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self.require_own = require_own

    @property
    def data(self) -> Path:
        """The users' shared input."""
        return self.root / "data"

    @property
    def jobs(self) -> Path:
        """The job folders."""
        return self.root / "jobs"

    @property
    def ledger(self) -> Ledger:
        """What is known of jobs beside their folders."""
        return Ledger(self.root)

    def prepare(self) -> None:
        """Make the top folders. Raises StorageUnusable."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.jobs.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StorageUnusable(f"the storage {self.root} cannot be used: {explained(problem)}") from None
        with suppress(OSError):  # a full storage takes no new jobs, which says so then
            self.ledger.prepare()

    def folder(self, name: str) -> JobFolder:
        """The job folder called ``name``."""
        return JobFolder(self.jobs / name)

    def job_folders(self) -> dict[str, int]:
        """The names of what looks as a job's folder, also if it is a link or a file, with the jobs' numbers."""
        with suppress(OSError), os.scandir(self.jobs) as entries:
            return {entry.name: int(told["id"]) for entry in entries if (told := _OF_A_JOB.fullmatch(entry.name))}
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


def _is_regular(path: Path) -> bool:
    """Whether a regular file lies there; False for anything else."""
    try:
        return is_regular(path)
    except OSError:
        return False


def _symlinks(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_symlink()]


def folder_name(job_id: int, owner: str, app: str, created: float) -> str:
    """A job folder's name: readable, unique by the id, made of harmless characters only."""
    return f"Job_{job_id}_{_UNSAFE.sub('-', owner)}_{_UNSAFE.sub('-', app)}_{int(created)}"


def _files(top: Path) -> Iterator[tuple[str, int]]:
    """(path below ``top``, bytes) of the files in it, however deep; nothing for what cannot be looked at."""
    folders = [(str(top), "")]
    while folders:
        folder, prefix = folders.pop()
        for entry in _entries(folder):
            if entry.name.startswith(PRIVATE_PREFIX):
                continue
            with suppress(OSError):  # gone meanwhile, or a link to itself
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.is_file() and not (entry.is_symlink() and _leads_out(entry.path, top)):
                    yield f"{prefix}{entry.name}", entry.stat().st_size


def _leads_out(link: str, top: Path) -> bool:
    """Whether a link leads to what is no result, which nobody gets: then neither its name nor its size is one."""
    try:
        inside(top, Path(os.path.realpath(link)).relative_to(top.resolve()).as_posix())
    except (ValueError, CumulusError):
        return True
    return False


def _entries(folder: str) -> "list[os.DirEntry[str]]":
    try:
        return list(os.scandir(folder))
    except OSError:
        return []
