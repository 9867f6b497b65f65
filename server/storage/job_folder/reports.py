"""What the worker's runner writes into a job's folder for the controller: its claim, heartbeats, result and report.

An app has run on the machine that wrote these files, so each is read as anybody's text.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from server.storage.job_folder.files import MAX_PRIVATE_BYTES, PrivateFiles
from server.storage.regular import is_regular, read_listing, read_regular
from server.storage.report import RunReport, RunResult

MAX_RESULT_BYTES = 1024 * 1024
_CLAIM = re.compile(r"\.cumulus\.attempt\.([1-9][0-9]{0,8})")


class Reports:
    """The worker's side of one job's folder."""

    def __init__(self, folder: Path, files: PrivateFiles) -> None:
        self._folder = folder
        self._files = files

    def require_own_files(self) -> None:
        """Raises OSError where the runner would write into something else than a file of its own, or wait for ever to."""
        for name in ("log", "alive", "pid", "host"):
            is_regular(self._files.path(name))

    def has_started(self, attempt: int) -> bool:
        """Whether the runner took this attempt up: from then on it must not be started again.

        Raises OSError where what is there cannot be the runner's.
        """
        return is_regular(self._files.path(f"attempt.{attempt}"))

    def last_attempt(self) -> int:
        """The number of the last attempt that a runner took up; 0: none."""
        with suppress(OSError):
            found = [_CLAIM.fullmatch(entry.name) for entry in os.scandir(self._folder)]
            return max((int(one[1]) for one in found if one), default=0)
        return 0

    def heartbeat(self) -> float | None:
        """When the runner was last alive by the storage's clock, Unix seconds; None before its first sign."""
        try:
            return self._files.path("alive").stat().st_mtime
        except OSError:
            return None

    def result(self, attempt: int) -> RunResult | None:
        """The attempt's result; None while there is none, or where the file is unreadable."""
        try:
            result = self._result()
        except (OSError, ValidationError):
            return None
        return result if result.attempt == attempt else None

    def run_report(self, attempt: int) -> RunReport | None:
        """The attempt's report beside its result; None where there is none, or the file is unreadable."""
        try:
            report = RunReport.model_validate_json(read_listing(self._files.path("report"), MAX_PRIVATE_BYTES))
        except (OSError, ValidationError):
            return None
        return report if report.attempt == attempt else None

    def has_unreadable_result(self) -> bool:
        """Whether the result cannot be read: an app may have run here, and nobody knows how it ended."""
        try:
            self._result()
        except FileNotFoundError:
            return False
        except (OSError, ValidationError):
            return True
        return False

    def forget_unreadable_result(self) -> None:
        """Remove an unreadable result before an attempt. Raises OSError."""
        if self.has_unreadable_result():
            path = self._files.path("result")
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def converted_files(self, attempt: int) -> list[Path]:
        """The inputs that the runner converted in this attempt and left complete; the names end with the inputs' numbers."""
        folder = self._files.path("converted")
        if folder.is_symlink():
            return []
        try:
            return sorted(path for path in folder.iterdir() if re.fullmatch(rf"{attempt}\.[0-9]{{1,6}}", path.name))
        except OSError:
            return []

    def results_wait(self) -> bool:
        """Whether the run has ended and its results wait on the machine for room in the storage."""
        return self._files.path("full.results").exists()

    def log_waits(self) -> bool:
        """Whether the log grows on the machine alone, since the storage has too little room."""
        return self._files.path("full.log").exists()

    def _result(self) -> RunResult:
        return RunResult.model_validate_json(read_regular(self._files.path("result"), MAX_RESULT_BYTES))
