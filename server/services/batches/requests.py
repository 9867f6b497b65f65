"""From one form and many files, or a sample sheet, to what is asked for each job. Nothing is looked up in the storage here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cumulus_client.batches import MAX_JOBS, NewBatch
from server.catalog.controls.control import quoted
from server.catalog.files import FileList, base_name, one_form
from server.catalog.forms import from_text
from server.catalog.model import App
from server.errors import InvalidInput
from server.services.batches.columns import Column, Special, columns_of, file_field
from server.services.batches.faults import Fault, FaultyBatch
from server.services.batches.sheet import (
    ASSAY_NAME,
    DATA_FILE,
    LABEL,
    NOTHING_SAID,
    SOURCE_NAME,
    Sheet,
    SheetRow,
    read_sheet,
)

MAX_LABEL = 200
FILES_IN_A_CELL = ";"


@dataclass
class Asked:
    """What is asked for one job. ``place``: for messages; ``columns``: which column a field comes from, by its key."""

    place: str
    label: str
    flavor: str
    form: dict[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)

    def fault(self, text: str, key: str | None = None) -> Fault:
        """A fault of this job; ``key``: of the field that it is about."""
        return Fault(self.place, self.columns.get(key or "", ""), text)


def asked_for(app: App, batch: NewBatch, form: Mapping[str, Any]) -> list[Asked]:
    """What the batch asks for each job. ``form``: of all of them. Raises FaultyBatch, InvalidInput."""
    if bool(batch.sheet.strip()) == bool(batch.files):
        which = "both" if batch.files else "neither"
        raise InvalidInput(f"a batch has either files or a sample sheet, this has {which}", field="files")
    if batch.columns and not batch.sheet:
        raise InvalidInput("columns are those of a sample sheet, and there is none", field="columns")
    found = _of_sheet(app, batch, form) if batch.sheet else _of_files(app, batch, form)
    if len(found) > MAX_JOBS:
        raise InvalidInput(f"a batch has {MAX_JOBS:,} jobs at most, this has {len(found):,}", field="sheet")
    if faults := list(_same(found)):
        raise FaultyBatch(faults, "sheet" if batch.sheet else "files")
    return found


def _of_files(app: App, batch: NewBatch, form: Mapping[str, Any]) -> list[Asked]:
    target = file_field(app, batch.each)
    if target.name in form:
        text = f"{target.title} is in the form of all jobs already: leave it out there, or choose another field for the files"
        raise InvalidInput(text, field="each")
    columns = {target.name: target.name}
    found, faults = [], []
    names: dict[str, str] = {}
    for number, path in enumerate(batch.files, 1):
        place = f"file {number}"
        try:
            name = base_name(path)
        except InvalidInput as error:
            faults.append(Fault(place, "", error.message))
            continue
        if (other := names.setdefault(one_form(name), place)) != place:
            faults.append(Fault(place, "", f"{quoted(name)} is {other}, too"))
        given = {target.name: [path] if target.multiple else path}
        found.append(Asked(place, name[:MAX_LABEL], batch.flavor, {**form, **given}, columns))
    if faults:
        raise FaultyBatch(faults, "files")
    return found


def _of_sheet(app: App, batch: NewBatch, form: Mapping[str, Any]) -> list[Asked]:
    sheet = read_sheet(batch.sheet)
    columns = columns_of(app, sheet, batch.columns, batch.each)
    if twice := [column for column in columns if column.key and column.key in batch.form]:
        text = f"the form of all jobs has {twice[0].key}, too: leave it out there, or map this column to nothing"
        raise FaultyBatch([Fault("row 1", twice[0].name, text)], "form")
    rows, faults = _Rows(sheet, columns, batch, form), list[Fault]()
    found = [rows.asked(row, faults) for row in (_merged(sheet, columns, faults) if sheet.is_sdrf else sheet.rows)]
    if faults:
        raise FaultyBatch(faults, "sheet")
    return found


class _Rows:
    """The rows of one sheet as what they ask for."""

    def __init__(self, sheet: Sheet, columns: Sequence[Column], batch: NewBatch, form: Mapping[str, Any]) -> None:
        self._sheet = sheet
        self._columns = columns
        self._batch = batch
        self._form = form
        self._where = {column.key: column.name for column in columns if column.key}
        self._at = sheet.numbered()

    def asked(self, row: SheetRow, faults: list[Fault]) -> Asked:
        """What the row asks for; its faults are added to ``faults``."""
        given: dict[str, Any] = {}
        special = {Special.LABEL: "", Special.FLAVOR: self._batch.flavor}
        for column in self._columns:
            text = row.cells[column.number]
            if not text or (self._sheet.is_sdrf and text.lower() in NOTHING_SAID):
                continue
            if column.special is not None:
                special[column.special] = text
                continue
            try:
                given[column.key] = _value(column, text)
            except InvalidInput as error:
                faults.append(Fault(row.place, column.name, error.message))
        label = special[Special.LABEL] or self._label(row, given)
        return Asked(row.place, label[:MAX_LABEL], special[Special.FLAVOR], {**self._form, **given}, self._where)

    def _label(self, row: SheetRow, given: Mapping[str, Any]) -> str:
        """In SDRF the assay's or the sample's name; else the first file's, else where the row is."""
        if self._sheet.is_sdrf:
            names = (row.cells[self._at[name]] for name in (ASSAY_NAME, SOURCE_NAME) if name in self._at)
            return next((name for name in names if name and name.lower() not in NOTHING_SAID), row.place)
        files = [given[column.key] for column in self._columns if column.key in given and isinstance(column.control, FileList)]
        first = next(iter(files), "")
        path = first[0] if isinstance(first, list) else first
        return str(path).replace("\\", "/").rsplit("/", 1)[-1] or row.place


def _value(column: Column, text: str) -> object:
    if isinstance(column.control, FileList):
        paths = [path.strip() for path in text.split(FILES_IN_A_CELL) if path.strip()]
        return paths if column.control.multiple else text
    return text if column.control is None else from_text(column.control, text)


def _merged(sheet: Sheet, columns: Sequence[Column], faults: list[Fault]) -> list[SheetRow]:
    """One row for each data file: the rows of its samples have to say the same in the columns that count."""
    at = sheet.numbered()
    identity = [at[name] for name in (SOURCE_NAME, ASSAY_NAME, LABEL, DATA_FILE) if name in at]
    rows: dict[str, SheetRow] = {}
    seen: dict[tuple[str, ...], SheetRow] = {}
    for row in sheet.rows:
        file = row.cells[at[DATA_FILE]]
        if not file or file.lower() in NOTHING_SAID:
            faults.append(Fault(row.place, sheet.columns[at[DATA_FILE]], "there is no data file"))
            continue
        other = seen.setdefault(tuple(row.cells[number] for number in identity), row)
        if other is not row:
            faults.append(Fault(row.place, "", f"it has the names, the label and the data file of {other.place}"))
            continue
        first = rows.setdefault(file, row)
        faults += [
            Fault(row.place, one.name, f"it differs from {first.place}, which has the same data file")
            for one in columns
            if row.cells[one.number] != first.cells[one.number]
        ]
    return list(rows.values())


def _same(found: Sequence[Asked]) -> Iterator[Fault]:
    """Jobs that would be the same, or have the same label though not the same files."""
    forms: dict[str, Asked] = {}
    for one in found:
        text = json.dumps([one.form, one.flavor], sort_keys=True, default=str)
        if (other := forms.setdefault(text, one)) is not one:
            yield one.fault(f"it is the same as {other.place}")
