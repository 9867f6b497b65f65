"""A job's result files: which of the files in ``output/`` are results, and the way to one of them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.errors import CumulusError, NotFound
from server.storage.paths import PRIVATE_PREFIX, inside


class Results:
    """The results in one job's folder; ``output``: the folder that they arrive in."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def files(self) -> list[tuple[str, int]]:
        """The result files as (path relative to ``output/``, bytes), sorted; links that lead to none are left out."""
        return sorted(self.each_file())

    def each_file(self) -> Iterator[tuple[str, int]]:
        """The same one by one, as they are found."""
        return iter(()) if self._output.is_symlink() else _files(self._output)

    def file(self, relative: str) -> Path:
        """The path of one of the result files. Raises InvalidInput, NotFound."""
        if self._output.is_symlink():  # it leads elsewhere, and so would all below it
            raise NotFound(f"{self._output.parent.name} has no results", field="path")
        return inside(self._output, relative)

    def tag(self, relative: str) -> str:
        """The tag of a result file; "" where it has gone."""
        try:
            return content_tag((self._output / relative).stat())
        except OSError:
            return ""


def content_tag(found: os.stat_result) -> str:
    """Another text where a file's content is another: a runner replaces files, it does not write over them."""
    return f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"


def _files(top: Path) -> Iterator[tuple[str, int]]:
    """(path below ``top``, bytes) of the files in it, however deep; without those that cannot be inspected."""
    folders = [(str(top), "")]
    while folders:
        folder, prefix = folders.pop()
        for entry in entries(folder):
            if entry.name.startswith(PRIVATE_PREFIX):
                continue
            with suppress(OSError):  # gone meanwhile, or a link to itself
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.is_file() and not (entry.is_symlink() and _leads_out(entry.path, top)):
                    yield f"{prefix}{entry.name}", entry.stat().st_size


def _leads_out(link: str, top: Path) -> bool:
    """Whether a link leads to a file that is no result: then neither its name nor its size may be shown."""
    try:
        inside(top, Path(os.path.realpath(link)).relative_to(top.resolve()).as_posix())
    except (ValueError, CumulusError):
        return True
    return False


def entries(folder: str) -> "list[os.DirEntry[str]]":
    """What is in a folder; nothing where it cannot be listed."""
    try:
        return list(os.scandir(folder))
    except OSError:
        return []
