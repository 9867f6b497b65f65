"""What a storage remembers of its jobs beside their folders: what a folder does not say yet, or no longer when it is gone.

Owns ``<storage>/.cumulus.ledger/``: ``last-number`` (the highest number that a job ever got), ``submitting/FOLDER`` (an empty
file while that folder belongs to an unfinished submission), ``deleted/FOLDER`` (what is kept of a deleted job, as
JSON) and ``switches`` (those of the installation, as JSON). Whatever else has one of these names is set aside beside it. Knows
nothing of rows.
"""

import errno
import os
import re
import stat
import threading
from contextlib import suppress
from pathlib import Path

from server.home.files import InTheWay, is_set_aside, own_folder, set_aside
from server.storage.paths import PRIVATE_PREFIX
from server.storage.regular import read_regular

MAX_NUMBER = 10**15 - 1  # of a job: JavaScript counts on exactly from there to 2**53
MAX_BYTES = 1024 * 1024
_WIDTH = len(str(MAX_NUMBER))
_NUMBER = re.compile(rf"[0-9]{{{_WIDTH}}}\n")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def lock_path(root: Path) -> Path:
    """The file that the controller of a storage holds locked."""
    return root / f"{PRIVATE_PREFIX}ledger" / "lock"


class Ledger:
    """The ledger of one storage. Every change is one file, made, replaced or removed at once: no kill leaves half of it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / f"{PRIVATE_PREFIX}ledger"
        self._submitting = self._folder / "submitting"
        self._deleted = self._folder / "deleted"
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folders, the controller's own. Raises OSError."""
        for folder in (self._folder, self._submitting, self._deleted):
            try:
                own_folder(folder, 0o700)
            except InTheWay as problem:
                raise problem.__cause__ if isinstance(problem.__cause__, OSError) else OSError(problem.message) from None

    def last_number(self) -> int:
        """The highest number that a job ever got here; 0 where that is not known."""
        try:
            text = read_regular(self._folder / "last-number", MAX_BYTES).decode()
        except (OSError, ValueError):
            return 0
        return int(text) if _NUMBER.fullmatch(text) else 0

    def begin(self, number: int, folder: str) -> bool:
        """A submission begins to make its job's folder; whether one did so before and is not over. Raises OSError."""
        self.know_number(number)
        path = self._submitting / folder
        _make_way(path)
        is_known = path.exists()
        path.touch()
        return is_known

    def know_number(self, number: int) -> None:
        """Remember that a number was given. Raises OSError."""
        self.prepare()
        with self._lock:
            if number > self.last_number():
                self._note_number(number)

    def end_submission(self, folder: str) -> None:
        """The submission is over: the job counts, or nothing of it is left. Where that fails, the next start does it."""
        with suppress(OSError):
            (self._submitting / folder).unlink(missing_ok=True)

    def submitting(self) -> list[str]:
        """The folders of submissions that are not over."""
        return _names(self._submitting)

    def bury(self, folder: str, text: str, manifest: Path) -> bool:
        """Keep what is left of a deleted job. Raises OSError.

        In a full storage its manifest does for now, which needs no room; False then.
        """
        self.prepare()
        try:
            self._replace(self._deleted / folder, text)
        except OSError as problem:
            if problem.errno not in _FULL:
                raise
            _make_way(self._deleted / folder)
            manifest.rename(self._deleted / folder)
            return False
        return True

    def exhume(self, folder: str, manifest: Path) -> None:
        """The job is not deleted after all; it keeps the manifest that it had. Raises OSError."""
        if manifest.parent.is_dir() and not manifest.exists():
            (self._deleted / folder).rename(manifest)
        else:
            (self._deleted / folder).unlink(missing_ok=True)

    def deleted(self) -> list[str]:
        """The folders of all deleted jobs."""
        return _names(self._deleted)

    def deleted_text(self, folder: str) -> str:
        """What is kept of a deleted job. Raises OSError."""
        return read_regular(self._deleted / folder, MAX_BYTES * 64).decode(errors="replace")

    def keep_switches(self, text: str) -> None:
        """Keep the installation's switches. Raises OSError."""
        self.prepare()
        self._replace(self._folder / "switches", text)

    def switches_text(self) -> str:
        """The switches that were kept; "" where there are none."""
        try:
            return read_regular(self._folder / "switches", MAX_BYTES).decode(errors="replace")
        except OSError:
            return ""

    def _note_number(self, number: int) -> None:
        """Always as long, and written at once over what was there: that needs no room, and is never half of it."""
        _make_way(self._folder / "last-number")
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(self._folder / "last-number", flags, 0o600)
        try:
            os.pwrite(file, f"{number:0{_WIDTH}}\n".encode(), 0)
            os.ftruncate(file, _WIDTH + 1)  # garbage may have been longer
        finally:
            os.close(file)

    def _replace(self, path: Path, text: str) -> None:
        beside = self._folder / f"new-{path.name}"
        _make_way(path)
        _make_way(beside)
        beside.unlink(missing_ok=True)
        try:
            with beside.open("x", errors="replace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if not is_set_aside(Path(entry.path)))
    except OSError:
        return []


def _make_way(path: Path) -> None:
    """Set aside what is no regular file of one's own. Raises OSError, which names it."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and os.access(path, os.W_OK):
            return
        try:
            set_aside(path, "a file of the ledger cannot be that")
        except InTheWay as problem:
            raise OSError(problem.message) from None
