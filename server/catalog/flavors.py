"""The machine sizes that jobs can ask for, and how much of them may exist at once.

Owns the format of flavors.tsv. What a cloud makes of a flavor is up to the cloud.

A line is ``NAME WEIGHT CPU RAM [DISK]``, separated by tabs, RAM and DISK in GB; ``#`` begins a comment, a line of column
names is skipped, and one line says ``MAX_ACCUMULATED_WEIGHT = n``. A flavor heavier than that maximum may be in the file
(it cannot be chosen until the maximum grows), but at least one must fit.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from programs.errors import explained
from programs.regular import read_regular
from server.errors import InvalidInput

COLUMNS = ("WEIGHT", "CPU", "RAM", "DISK")
REQUIRED_COLUMNS = 3
MAX_NUMBER = 1_000_000
MAX_FILE_BYTES = 1_000_000
_MAXIMUM = re.compile(r"MAX_ACCUMULATED_WEIGHT\s*=\s*(.*)")
# Names go into the desktop client's page and into names of files and resources as they are.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Flavor:
    """A machine size: ``cpus`` virtual CPUs, memory and disk in GB (None: the cloud's default). ``weight`` is its share."""

    name: str
    weight: int
    cpus: int
    memory_gb: int
    disk_gb: int | None = None


class Flavors(Mapping[str, Flavor]):
    """Flavors by name, in the order of their file; ``max_weight`` bounds the sum of the weights of all machines at once."""

    def __init__(self, flavors: Mapping[str, Flavor], max_weight: int) -> None:
        self._flavors = dict(flavors)
        self.max_weight = max_weight

    def __getitem__(self, name: str) -> Flavor:
        return self._flavors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flavors)

    def __len__(self) -> int:
        return len(self._flavors)


def read_flavors(path: Path) -> Flavors:
    """The flavors in a file. Raises InvalidInput that names file, line and reason."""
    try:
        text = read_regular(path, MAX_FILE_BYTES, follow=True).decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"the machine sizes cannot be read: {explained(error)}", field="flavors") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: is not UTF-8 text", field="flavors") from None
    return _Reader(path).read(text)


def read_default(path: Path, name: str) -> Flavor:
    """The flavor in a file that the setting default_flavor names. Raises InvalidInput."""
    flavor = read_flavors(path).get(name)
    if flavor is None:
        raise InvalidInput(f"{path} has no flavor {name}: add it, or set default_flavor", field="setting default_flavor")
    return flavor


class _Reader:
    """Reads one file; knows where it is, so that an error can say so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._flavors: dict[str, Flavor] = {}
        self._max_weight: int | None = None

    def read(self, text: str) -> Flavors:
        for self._line, raw in enumerate(text.splitlines(), start=1):  # the line number is kept for errors
            line = raw.split("#", 1)[0].strip()
            if line:
                self._read_line(line)
        self._line = 0
        if self._max_weight is None:
            self._refuse("the line `MAX_ACCUMULATED_WEIGHT = n` is missing")
        if not self._flavors:
            self._refuse("there is no flavor")
        if all(flavor.weight > self._max_weight for flavor in self._flavors.values()):
            self._refuse(f"every flavor is heavier than MAX_ACCUMULATED_WEIGHT = {self._max_weight}, so no job could ever start")
        return Flavors(self._flavors, self._max_weight)

    def _read_line(self, line: str) -> None:
        if maximum := _MAXIMUM.fullmatch(line):
            if self._max_weight is not None:
                self._refuse("MAX_ACCUMULATED_WEIGHT is given twice")
            self._max_weight = self._number("MAX_ACCUMULATED_WEIGHT", maximum[1])
            return
        name, *cells = [cell.strip() for cell in re.split(r"\t+", line)]
        if (name.upper(), *(cell.upper() for cell in cells[:1])) != ("NAME", "WEIGHT"):
            self._add(name, cells)

    def _add(self, name: str, cells: list[str]) -> None:
        if not REQUIRED_COLUMNS <= len(cells) <= len(COLUMNS):
            self._refuse(f"expected NAME WEIGHT CPU RAM [DISK] separated by tabs, found {1 + len(cells)} columns")
        if not _NAME.fullmatch(name):
            self._refuse(f"the name {name!r} has characters other than letters, digits and . _ + -")
        if name in self._flavors:
            self._refuse(f"the flavor {name} is given twice")
        numbers = [self._number(column, cell) for column, cell in zip(COLUMNS, cells, strict=False)]
        disk = numbers[REQUIRED_COLUMNS] if len(numbers) > REQUIRED_COLUMNS else None
        self._flavors[name] = Flavor(name, numbers[0], numbers[1], numbers[2], disk)

    def _number(self, column: str, text: str) -> int:
        if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_NUMBER:
            self._refuse(f"{column} is {text!r}, not a whole number from 1 to {MAX_NUMBER}")
        return int(text)

    def _refuse(self, reason: str) -> NoReturn:
        where = f"{self._path}:{self._line}" if self._line else str(self._path)
        raise InvalidInput(f"{where}: {reason}", field="flavors")
