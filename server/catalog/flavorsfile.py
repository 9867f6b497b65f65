"""Correcting numbers in flavors.tsv. All else in the file stays as it was: comments, order, weights, blanks, line ends."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from programs.regular import read_regular
from server.catalog.flavors import COLUMNS, MAX_FILE_BYTES, read_flavors
from server.errors import InvalidInput

BOM = "\ufeff"
_TABS = re.compile(r"(\t+)")


def rewrite(path: Path, changes: Mapping[str, Mapping[str, int]]) -> None:
    """Give flavors other numbers, by name and column; a DISK that a line lacks is added. The file is replaced as a whole.

    Raises InvalidInput where it cannot be written, or would be no list of flavors any more; then nothing has changed.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name}.new")
    try:
        text = read_regular(target, MAX_FILE_BYTES).decode()
        beside.unlink(missing_ok=True)
        beside.write_bytes("".join(_corrected(line, changes) for line in text.splitlines(keepends=True)).encode())
        shutil.copymode(target, beside)
        read_flavors(beside)
        _flush(beside)
        beside.rename(target)
    except OSError as problem:
        raise InvalidInput(f"{path} cannot be written: {problem.strerror}", field="flavors") from None
    finally:
        beside.unlink(missing_ok=True)


def _corrected(line: str, changes: Mapping[str, Mapping[str, int]]) -> str:
    content, mark, comment = line.partition("#")
    bare = content.strip()
    mark_of_order = BOM if bare.startswith(BOM) else ""
    cells = _TABS.split(bare.removeprefix(BOM))
    numbers = changes.get(cells[0].strip())
    if numbers is None:
        return line
    for place, column in enumerate(COLUMNS, start=1):
        if column in numbers:
            if 2 * place >= len(cells):
                cells += ["\t", ""]
            cells[2 * place] = str(numbers[column])
    before, after = content.split(bare, 1)
    return f"{before}{mark_of_order}{''.join(cells)}{after}{mark}{comment}"


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
