"""What the columns of a sample sheet are for: a field of the app's form, the job's label, its machine size, or nothing."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from server.catalog.controls.texts import Note
from server.catalog.files import FileList
from server.catalog.forms import UnknownName, refuse_name
from server.catalog.model import AnyControl, App
from server.errors import InvalidInput
from server.services.batches.faults import Fault, FaultyBatch
from server.services.batches.sheet import ASSAY_NAME, DATA_FILE, HEADER, SOURCE_NAME, Sheet, plain

_IN_BRACKETS = re.compile(r"(?:comment|characteristics|factor value)\[(.+)\]")


class Special(StrEnum):
    """What a column may be for beside a field; these are its names in a CSV, unless the app has such a field."""

    LABEL = "label"
    FLAVOR = "flavor"


@dataclass(frozen=True)
class Column:
    """A column that counts. ``key``: of the field in the form, "" for a special one."""

    number: int
    name: str
    key: str = ""
    control: AnyControl | None = None
    special: Special | None = None


def columns_of(app: App, sheet: Sheet, given: Mapping[str, str], each: str) -> list[Column]:
    """The columns that count. ``given``: by the columns' names, which fields they are for, "" for none. Raises FaultyBatch.

    In SDRF, which describes samples, a column that no field is called after does not count; in a CSV it is refused.
    """
    wanted = {plain(name): field for name, field in given.items()}
    known = set(map(plain, sheet.columns))
    if strange := [name for name in given if plain(name) not in known]:
        raise FaultyBatch([Fault(HEADER, strange[0], "the sheet has no such column")], "columns")
    if sheet.is_sdrf and DATA_FILE not in known:
        raise FaultyBatch([Fault(HEADER, DATA_FILE, "the sheet is SDRF and lacks this column")], "sheet")
    fields = _Fields(app, each)
    found, faults = [], []
    for number, name in enumerate(sheet.columns):
        try:
            column = fields.column(number, name, wanted.get(plain(name)), is_sdrf=sheet.is_sdrf)
        except InvalidInput as error:
            faults.append(Fault(HEADER, name, error.message))
            continue
        if column is not None:
            found.append(column)
    faults += _twice(found)
    if faults:
        raise FaultyBatch(faults, "sheet")
    return found


def file_field(app: App, name: str) -> FileList:
    """The field that gets each job's file: the named one, or the only one that it can be. Raises InvalidInput."""
    lists = {one.name: one for one in app.controls() if isinstance(one, FileList)}
    if name:
        key = _Fields(app, "").key_of(name)
        if key in lists:
            return lists[key]
        raise InvalidInput(f"{app.name} has no field of files called {name!r}; it has {', '.join(lists) or 'none'}", field="each")
    likely = [one for one in lists.values() if one.convert or one.per_file] or list(lists.values())
    if len(likely) == 1:
        return likely[0]
    which = f"it has {', '.join(one.name for one in likely)}" if likely else "it has none"
    raise InvalidInput(f"say which field of {app.name} gets the files: {which}", field="each")


class _Fields:
    """The fields of an app by what a sheet may call them."""

    def __init__(self, app: App, each: str) -> None:
        self._app = app
        self._each = each
        self._controls = {key: control for control in app.controls() if not isinstance(control, Note) for key in control.keys}
        labels = {plain(one.label): one.keys[0] for one in self._controls.values() if len(one.keys) == 1}
        self._keys = {**labels, **{plain(key): key for key in self._controls}}

    def key_of(self, name: str) -> str | None:
        """The key of the field that is called so, by its key or its label; None for none."""
        return name if name in self._controls else self._keys.get(plain(name))

    def column(self, number: int, name: str, wanted: str | None, *, is_sdrf: bool) -> Column | None:
        """What a column is for; None for nothing. ``wanted``: what somebody has said. Raises InvalidInput."""
        if wanted == "":
            return None
        if wanted is not None:
            return self._named(number, name, wanted)
        if is_sdrf:
            return self._of_sdrf(number, name)
        return self._named(number, name, name)

    def _named(self, number: int, name: str, wanted: str) -> Column:
        key = self.key_of(wanted)
        if key is not None:
            return Column(number, name, key, self._controls[key])
        if plain(wanted) in set(Special):
            return Column(number, name, special=Special(plain(wanted)))
        labels = {one: control.label for one, control in self._controls.items()}
        try:
            refuse_name(self._app.name, wanted, {**labels, **{special: special for special in Special}})
        except UnknownName as error:
            raise InvalidInput(error.message, field="sheet") from None

    def _of_sdrf(self, number: int, name: str) -> Column | None:
        called = plain(name)
        if called == DATA_FILE:
            field = file_field(self._app, self._each)
            return Column(number, name, field.name, field)
        if called in (SOURCE_NAME, ASSAY_NAME):
            return None
        inner = _IN_BRACKETS.fullmatch(called)
        key = self.key_of(inner[1] if inner else called)
        return None if key is None else Column(number, name, key, self._controls[key])


def _twice(columns: list[Column]) -> Iterator[Fault]:
    seen: dict[str, Column] = {}
    for column in columns:
        what = column.key or str(column.special)
        if (other := seen.setdefault(what, column)) is not column:
            yield Fault(HEADER, column.name, f"it is for {what}, as column {other.name!r} is: leave one out")
