"""The files of a job's folder that users do not see: their paths, how they are read, and how they are replaced."""

from pathlib import Path
from uuid import uuid4

from server.storage.paths import PRIVATE_PREFIX
from server.storage.regular import is_regular, read_regular

MAX_PRIVATE_BYTES = 64 * 1024 * 1024


class PrivateFiles:
    """The files called ``.cumulus.*`` of one job's folder; ``name`` is what follows the prefix."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where the file is, or would be."""
        return self._folder / f"{PRIVATE_PREFIX}{name}"

    def text(self, name: str) -> str:
        """The file's text. Raises OSError."""
        return read_regular(self.path(name), MAX_PRIVATE_BYTES).decode(errors="replace")

    def keep(self, name: str, text: str) -> None:
        """Write a text (a failed tool's output) where the job's folder exists. Raises OSError."""
        if self._folder.is_dir():
            self.replace(name, text)

    def replace(self, name: str, text: str, target: Path | None = None) -> None:
        """Write the file whole or not at all; ``target``: its path where it is no private one. Raises OSError."""
        beside = self.path(f"{name}.{uuid4().hex}.new")  # of this writer alone: others may be at the same file
        try:
            with beside.open("x", errors="replace") as file:
                file.write(text)
            beside.rename(target or self.path(name))
        except OSError:
            beside.unlink(missing_ok=True)  # half of it in a full storage, which has no room for it
            raise


def is_regular_file(path: Path) -> bool:
    """Whether a regular file is there; False for anything else."""
    try:
        return is_regular(path)
    except OSError:
        return False
