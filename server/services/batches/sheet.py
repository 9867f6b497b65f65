"""A sample sheet as text: CSV, whatever separates its columns, or SDRF-Proteomics. Owns the table, not what it means.

SDRF-Proteomics (HUPO-PSI, version 1.1) is separated by tabs, begins with the column ``source name``, and has a row for each pair
of a sample and a data file: a file of a multiplexed run has several rows, which differ in ``comment[label]``.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from server.services.batches.faults import Fault, FaultyBatch

HEADER = "row 1"
SOURCE_NAME, ASSAY_NAME, DATA_FILE, LABEL = "source name", "assay name", "comment[data file]", "comment[label]"
NOTHING_SAID = frozenset({"not available", "not applicable"})  # of SDRF
MAX_COLUMNS = 1000
MAX_ROWS = 200_000  # of SDRF, which may have many for a file
MAX_CELL = 1_000_000
_SEPARATORS = "\t,;"
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class SheetRow:
    """A row: its place for messages, its cells in the order of the columns."""

    place: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """A table. ``columns``: as they are called in it."""

    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]

    @property
    def is_sdrf(self) -> bool:
        """Whether its first column says so."""
        return bool(self.columns) and plain(self.columns[0]) == SOURCE_NAME

    def numbered(self) -> Mapping[str, int]:
        """Where the columns are, by their plain names; of several of a name the first."""
        return {plain(name): number for number, name in reversed(list(enumerate(self.columns)))}


def read_sheet(text: str) -> Sheet:
    """The table in a text. Empty rows count, and are left out. Raises FaultyBatch."""
    text = text.removeprefix("\ufeff")
    records = _records(text)
    columns = tuple(cell.strip() for cell in next(records, []))
    if not any(columns):
        raise _refused(HEADER, "", "the sheet is empty: its first row has to have the columns' names")
    if len(columns) > MAX_COLUMNS:
        raise _refused(HEADER, "", f"the sheet has {len(columns)} columns, more than {MAX_COLUMNS}")
    rows, faults = list[SheetRow](), list[Fault]()
    for number, record in enumerate(records, 2):
        cells = tuple(cell.strip() for cell in record)
        if not any(cells):
            continue
        if len(rows) == MAX_ROWS:
            raise _refused(f"row {number}", "", f"the sheet has more than {MAX_ROWS:,} rows")
        row = SheetRow(f"row {number}", cells)
        if len(cells) != len(columns):
            faults.append(Fault(row.place, "", f"it has {len(cells)} cells, the header has {len(columns)}"))
        rows.append(row)
    if faults:
        raise FaultyBatch(faults, "sheet")
    if not rows:
        raise _refused(HEADER, "", "the sheet has no rows below its header")
    return Sheet(columns, tuple(rows))


def plain(name: str) -> str:
    """A column's name as names are compared: in small letters, with single blanks, none within its brackets' edges."""
    return _SPACES.sub(" ", name.strip()).lower().replace(" [", "[").replace("[ ", "[").replace(" ]", "]")


def _records(text: str) -> Iterator[list[str]]:
    """The rows as cells. Raises FaultyBatch for what is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    number = 1
    try:
        for number, record in enumerate(reader, 1):
            if any("\0" in cell or len(cell) > MAX_CELL for cell in record):
                raise _refused(f"row {number}", "", "a cell holds what is no text, or too much of it")
            yield record
    except csv.Error as problem:
        raise _refused(f"row {number + 1}", "", f"this is not CSV: {problem}") from None


def _separator(text: str) -> str:
    """What separates the columns of the header; where several might, the one that does so most often, quotes apart."""
    header = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    return max(_SEPARATORS, key=header.count)


def _refused(place: str, column: str, text: str) -> FaultyBatch:
    return FaultyBatch([Fault(place, column, text)], "sheet")
