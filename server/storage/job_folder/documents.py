"""What the controller keeps with a job: the form, the row as a file (manifest), and the record of the run."""

import os
from pathlib import Path

from server.storage.job_folder.files import MAX_PRIVATE_BYTES, PrivateFiles, is_regular_file
from server.storage.job_folder.names import FORM, RECORD
from server.storage.regular import open_regular, read_listing


class Documents:
    """The documents of one job's folder. Their formats belong to :mod:`server.engine.records`."""

    def __init__(self, folder: Path, files: PrivateFiles) -> None:
        self._folder = folder
        self._files = files

    @property
    def manifest_path(self) -> Path:
        """Where the job's row is kept as a file."""
        return self._files.path("job")

    def has_form(self) -> bool:
        """Whether the form that the job was submitted with is here, as in every job's folder from its beginning."""
        return is_regular_file(self._files.path("settings"))

    def is_taken_over(self) -> bool:
        """Whether the job was the former server's (server/services/former_server)."""
        return os.path.lexists(self._files.path(FORM))

    def form_text(self) -> str:
        """The form as JSON text. Raises OSError."""
        return self._files.text(FORM if self.is_taken_over() else "settings")

    def write_record(self, text: str) -> None:
        """Replace the record of the run, where the folder exists. Raises OSError."""
        if self._folder.is_dir():
            self._files.replace("record", text, self._folder / RECORD)

    def record_text(self, limit: int | None = None) -> str:
        """The record of the run, or its first ``limit`` bytes. Raises OSError."""
        if limit is None:
            return read_listing(self._folder / RECORD, MAX_PRIVATE_BYTES).decode(errors="replace")
        with open_regular(self._folder / RECORD) as file:
            return file.read(limit).decode(errors="replace")
