"""What was typed for all jobs of a batch: fields, files, a form, what the columns of a sheet are for."""

from collections.abc import Iterable
from typing import Any, BinaryIO

from programs.errors import explained
from server.catalog.model import App
from server.cli.sending.shared_files import SharedFiles
from server.cli.shared.inputs import Typed, read_form, read_typed
from server.errors import InvalidInput

MAX_BYTES = 40_000_000


def common_form(
    app: App, sets: Iterable[str], inputs: Iterable[str], data: SharedFiles, stored: Iterable[str], form: Any
) -> Typed:
    """The values of all jobs, and the files among them. ``data``: the shared files. Raises InvalidInput."""
    typed = read_typed(app, sets, inputs, stored, data)
    typed.values = {**(read_form(form) if form else {}), **typed.values}
    return typed


def read_columns(words: Iterable[str]) -> dict[str, str]:
    """``COLUMN=NAME``, by the last ``=``: a column may have one in its name. Raises InvalidInput."""
    found = {}
    for word in words:
        column, is_named, name = word.rpartition("=")
        if not is_named or not column:
            raise InvalidInput(f"--column {word}: a column's field is said by COLUMN=NAME")
        found[column] = name
    return found


def read_sheet_text(file: BinaryIO | None) -> str:
    """The text of a sample sheet: UTF-8, or UTF-16 with a mark, as spreadsheets write it. Raises InvalidInput."""
    if file is None:
        return ""
    try:
        content = file.read(MAX_BYTES)
    except OSError as error:
        raise InvalidInput(f"the sheet cannot be read: {explained(error)}") from None
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput('the sheet is no text in UTF-8: save it as "CSV UTF-8"') from None
