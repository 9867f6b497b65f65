"""Putting input files into the storage on this computer, as the agent does from another one."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from programs.errors import explained
from server.errors import InvalidInput
from server.storage.folders import JobFolder, Storage
from server.storage.paths import base_name


def deliver(storage: Storage, folder: JobFolder, shared: Iterable[Path], local: Iterable[Path] = ()) -> None:
    """Copy ``shared`` files to data/ and ``local`` ones to the job's input/, then say that all is there.

    A file that is in data/ already, with the same size, is not sent again. Raises InvalidInput for one that cannot be read.
    """
    for path in shared:
        _copy(path, storage.data)
    for path in local:
        _copy(path, folder.input)
    folder.mark_arrived()


def _copy(source: Path, folder: Path) -> None:
    target = folder / base_name(source.name, field="input")
    try:
        if target.is_file() and target.stat().st_size == source.stat().st_size:
            return
        beside = folder / f".{target.name}.part-{os.getpid()}"
        if source.is_dir():
            shutil.copytree(source, beside)
        else:
            shutil.copyfile(source, beside)
        beside.rename(target)
    except OSError as error:
        raise InvalidInput(f"{source} cannot be put into the storage: {explained(error)}", field="input") from None
