"""Putting input files into the storage on this computer, as the agent does from another one."""

import filecmp
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import token_hex

from programs.errors import explained
from server.errors import InvalidInput
from server.progress import MB, Advance, repeating, unheard
from server.storage.arrivals import UPLOAD
from server.storage.data import remove, set_aside
from server.storage.folders import JobFolder, Storage
from server.storage.paths import base_name


def deliver(
    storage: Storage, folder: JobFolder, shared: Iterable[Path], local: Iterable[Path] = (), advance: Advance = unheard
) -> None:
    """Copy ``shared`` files to data/ and ``local`` ones to the job's input/, then say that all is there.

    A file that is there already, with the same content, is not sent again. ``advance``: in MB. Raises InvalidInput for one that
    cannot be read.
    """
    files = [*((path, storage.data) for path in shared), *((path, folder.input) for path in local)]
    sizes = [_megabytes(path) for path, _ in files]
    for number, (path, target) in enumerate(files):
        _copy(path, target, partial(_advance, advance, sum(sizes[:number]), sum(sizes)))
        advance(sum(sizes[: number + 1]), sum(sizes))
    folder.mark_arrived()


def _advance(advance: Advance, before: float, total: float, copy: Path) -> None:
    advance(before + _megabytes(copy), total)


def _megabytes(path: Path) -> float:
    """The size of a file, or of all files in a folder; 0 where it is not there."""
    files = path.rglob("*") if path.is_dir() else (path,)
    with suppress(OSError):  # what cannot be read says so when it is copied
        return sum(file.stat().st_size for file in files if file.is_file()) / MB
    return 0.0


def _copy(source: Path, folder: Path, look: Callable[[Path], None]) -> None:
    target = folder / base_name(source.name, field="input")
    beside = folder / f"{UPLOAD}{token_hex(3)}"  # not longer for a long name; `left_over` knows what a killed process leaves
    try:
        if _is_same(source, target):
            return
        with repeating(partial(look, beside)):
            if source.is_dir():
                shutil.copytree(source, beside)
            else:
                shutil.copyfile(source, beside)
        # A folder can take the place of an empty one only.
        former = set_aside(target) if source.is_dir() and target.is_dir() else None
        beside.rename(target)
        if former:
            remove(former)
    except OSError as error:
        raise InvalidInput(f"{source} cannot be put into the storage: {explained(error)}", field="input") from None
    finally:
        with suppress(OSError):
            remove(beside)


def _is_same(source: Path, target: Path) -> bool:
    """Whether both are files, or folders of files, with the same names and contents. Raises OSError."""
    if not source.is_dir():
        return target.is_file() and filecmp.cmp(source, target, shallow=False)
    names = sorted(path.name for path in source.iterdir())
    if not target.is_dir() or names != sorted(path.name for path in target.iterdir()):
        return False
    return all(_is_same(source / name, target / name) for name in names)
