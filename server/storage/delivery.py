"""Putting input files into the storage on this computer, as the agent does from another one."""

import filecmp
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from server.errors import InvalidInput
from server.storage.data import remove
from server.storage.folders import JobFolder, Storage
from server.storage.paths import base_name


def deliver(storage: Storage, folder: JobFolder, shared: Iterable[Path], local: Iterable[Path] = ()) -> None:
    """Copy ``shared`` files to data/ and ``local`` ones to the job's input/, then say that all is there.

    A file that is there already, with the same content, is not sent again. Raises InvalidInput for one that cannot be read.
    """
    for path in shared:
        _copy(path, storage.data)
    for path in local:
        _copy(path, folder.input)
    folder.mark_arrived()


def _copy(source: Path, folder: Path) -> None:
    target = folder / base_name(source.name, field="input")
    beside = folder / f".upload.{token_hex(3)}"  # not longer for a long name; `left_over` knows what a killed process leaves
    try:
        if target.is_file() and filecmp.cmp(source, target, shallow=False):
            return
        if source.is_dir():
            shutil.copytree(source, beside)
        else:
            shutil.copyfile(source, beside)
        beside.rename(target)
    except OSError as error:
        raise InvalidInput(f"{source} cannot be put into the storage: {error.strerror}", field="input") from None
    finally:
        with suppress(OSError):
            remove(beside)
