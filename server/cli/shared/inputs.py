"""A form and its files from what somebody typed: ``--set NAME=VALUE``, ``--input NAME=PATH``, ``--shared NAME=FILE``.

Nothing is sent here. Owns the words on the command line, and that each file that a form names is at hand under a name of its own.
"""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from programs.errors import explained
from server.catalog.controls.control import WrongValue, quoted
from server.catalog.files import FileList, InputFile
from server.catalog.forms import completed, control_of, from_text, labelled, require_names, titled
from server.catalog.model import App
from server.catalog.settings_text import MAX_SETTINGS_BYTES, parse_settings
from server.catalog.values import counting, input_files
from server.cli.sending.shared_files import SharedFiles
from server.errors import InvalidInput
from server.storage.paths import base_name

_RESULT = "%job_dir_"


@dataclass(frozen=True)
class Prepared:
    """A job's form, complete, and the files of this computer that belong to it: to the shared data, or to the job alone.

    ``stored``: names of shared files that are used as the storage has them.
    """

    settings: dict[str, Any]
    shared: tuple[Path, ...]
    local: tuple[Path, ...]
    stored: tuple[str, ...] = ()


@dataclass
class Typed:
    """What was typed: values by their key in the form, and files by name. ``names``: the fields that were given.

    ``stored``: names of files that the storage has, ``offered``: those that may be, if the form names them.
    """

    values: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    offered: set[str] = field(default_factory=set)


def read_form(file: BinaryIO) -> dict[str, Any]:
    """A form's settings from a JSON file (UTF-8, also with a byte order mark, or UTF-16). Raises InvalidInput with the line."""
    name = getattr(file, "name", "")
    where = name if isinstance(name, str) and name != "<stdin>" else "standard input"
    try:
        content = file.read(2 * MAX_SETTINGS_BYTES)
        text = content.decode(json.detect_encoding(content))
        json.loads(text)
    except OSError as error:
        raise InvalidInput(f"the settings cannot be read: {explained(error)}", field="settings") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{where}: this is not text in UTF-8, as JSON is", field="settings") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{where}, line {error.lineno}: this is not JSON: {error.msg}", field="settings") from None
    except ValueError as error:  # a number with thousands of digits
        raise InvalidInput(f"{where}: {error}", field="settings") from None
    except RecursionError:
        raise InvalidInput(f"{where}: lists or objects are within each other too deeply", field="settings") from None
    try:
        return parse_settings(text)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.message}", field=error.field) from None


def prepare(
    app: App,
    given: Mapping[str, Any],
    sets: Iterable[str],
    inputs: Iterable[str],
    data: SharedFiles,
    stored: Iterable[str] = (),
    preset: Mapping[str, Any] | None = None,
) -> Prepared:
    """A form with its files, from a form that was given, ``NAME=VALUE`` and ``NAME=PATH`` (or ``PATH`` of a file it names).

    ``data``: the shared files; ``stored``: ``NAME=FILE`` (or ``FILE`` that the form names) for those that are taken from there.
    ``preset``: a form that all others count before; its files are the storage's where that has them.
    Raises InvalidInput that names fields by their labels.
    """
    typed = read_typed(app, sets, inputs, stored, data)
    try:
        if preset:
            take_stored(app, preset, typed, data)
        return complete(app, {**(preset or {}), **given, **typed.values}, typed, data)
    except InvalidInput as error:
        raise labelled(app, error) from None


def read_typed(
    app: App, sets: Iterable[str], inputs: Iterable[str], stored: Iterable[str] = (), data: SharedFiles | None = None
) -> Typed:
    """What was typed, by the fields of the app. ``data``: needed where there are ``stored`` files. Raises InvalidInput."""
    typed = Typed()
    for text in sets:
        name, is_named, value = split(app, text)
        if not is_named:
            raise InvalidInput(f"--set {text}: a field is set by NAME=VALUE")
        _put(app, typed, name, value)
    for text in inputs:
        name, is_named, path = split(app, text)
        if isinstance(control_of(app, name), FileList):
            _put(app, typed, name, path)
        elif is_named and not Path(text).exists():
            require_names(app, [name])
            raise InvalidInput(f"--input {text}: {titled(app, name)} is no field of files; use --set")
        else:
            _add_file(typed, text)
    if data is not None:
        for text in stored:
            _add_stored(app, typed, text, data)
    return typed


def complete(app: App, given: Mapping[str, Any], typed: Typed, data: SharedFiles) -> Prepared:
    """The form with its defaults, and each file that it names found. Raises InvalidInput whose field is the parameter's name."""
    form = completed(app, given)
    require_counting(app, form, typed.names)
    files = [file for file in input_files(app, form) if file.result is None]
    names = {file.name for file in files}
    if strange := sorted(typed.files.keys() - names):
        raise InvalidInput(f"{typed.files[strange[0]]}: no field of the form names this file; give --input NAME=PATH")
    if strange := sorted(typed.stored - names):
        raise InvalidInput(f"--shared {strange[0]}: no field of the form names this file; give --shared NAME=FILE")
    typed.stored |= typed.offered & names - typed.files.keys()
    for file in files:
        _require_at_hand(file, typed, data)
    sent = {file.name: file for file in files if file.name in typed.files}
    shared = tuple(typed.files[name] for name, file in sent.items() if file.shared)
    local = tuple(typed.files[name] for name, file in sent.items() if not file.shared)
    return Prepared(form, shared, local, tuple(sorted(typed.stored)))


def split(app: App, text: str) -> tuple[str, bool, str]:
    """``NAME=VALUE`` as (name, True, value); (text, False, "") where there is no =. A name of the app's may have one, too."""
    known = [key for control in app.controls() for key in control.keys if text.startswith(f"{key}=")]
    name = max(known, key=len) if known else text.partition("=")[0]
    return name, len(name) < len(text), text[len(name) + 1 :]


def _put(app: App, typed: Typed, name: str, text: str) -> None:
    require_names(app, [name])
    control = control_of(app, name)
    typed.names.append(name)
    if control is None:  # what pages send beside the fields
        raise InvalidInput(f"{name} cannot be set")
    if not isinstance(control, FileList):
        try:
            typed.values[name] = from_text(control, text)
        except InvalidInput as error:
            raise labelled(app, error) from None
    else:
        path = text if text.startswith(_RESULT) else str(_add_file(typed, text, titled(app, name)))
        if path in typed.values.setdefault(name, []):
            raise InvalidInput(f"{titled(app, name)}: {text} is given twice")
        typed.values[name].append(path)


def _add_stored(app: App, typed: Typed, text: str, data: SharedFiles) -> None:
    """Note a file of the storage; its path is put into the form where a field is named. Raises InvalidInput."""
    name, is_named, file = split(app, text)
    control = control_of(app, name)
    if not is_named or not isinstance(control, FileList):
        if is_named and not _is_stored(data, text):
            require_names(app, [name])
            raise InvalidInput(f"--shared {text}: {titled(app, name)} is no field of files; use --set")
        control, file = None, text
    if not _is_stored(data, file):
        raise InvalidInput(f"--shared {text}: the storage has no shared file {quoted(file)}; send it by --input")
    if file in typed.files:
        raise InvalidInput(f"{file} is given twice, by --input and by --shared")
    typed.stored.add(file)
    if control is not None:
        typed.names.append(name)
        typed.values.setdefault(name, []).append(data.path(file))


def take_stored(app: App, presets: Mapping[str, Any], typed: Typed, data: SharedFiles) -> None:
    """Files that a workflow's author names, and nobody replaces by others, are those that the storage has."""
    for control in app.controls():
        given = presets.get(control.name)
        if not isinstance(control, FileList) or given is None or control.name in typed.values:
            continue
        for path in [given] if isinstance(given, str) else given:
            name = Path(str(path).replace("\\", "/")).name
            if not str(path).startswith(_RESULT) and _is_stored(data, name):
                typed.offered.add(name)


def _is_stored(data: SharedFiles, name: str) -> bool:
    try:
        return data.kind(base_name(name)) is not None
    except InvalidInput:
        return False


def _add_file(typed: Typed, text: str, label: str = "--input") -> Path:
    """The absolute path of a file, noted under its name. Raises InvalidInput where it is not there, or the name is taken."""
    if not text:
        raise InvalidInput(f"{label}: no file is given")
    path = (Path(text).expanduser() if text.startswith("~/") else Path(text)).absolute()
    if not path.exists():
        raise InvalidInput(f"{label}: there is no file {text}")
    name = base_name(path.name, field="input")
    require_own_name(typed.files, name, path)
    return path


def require_own_name(taken: dict[str, Path], name: str, path: Path) -> None:
    """Note the file under its name. Raises InvalidInput where another one has that already."""
    if (other := taken.setdefault(name, path)) != path:
        raise InvalidInput(f"{other} and {path} have the same name: rename one of them")


def require_counting(app: App, form: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raises InvalidInput for a field that was given and is in a branch that the form does not take."""
    counts = {key for control in counting(app, form) for key in control.keys}
    for name in names:
        if name not in counts:
            reason = "does not count with these settings: another field of the form decides that"
            raise WrongValue(titled(app, name), reason, field=name)


def _require_at_hand(file: InputFile, typed: Typed, data: SharedFiles) -> None:
    """Raises InvalidInput where a file that the form names is neither sent nor said to be shared, or is of the wrong sort."""
    given, kind = typed.files.get(file.name), None
    if given is not None:
        kind = "folder" if given.is_dir() else "file" if given.is_file() else None
    elif file.name in typed.stored:
        if not file.shared:
            text = f"{quoted(file.name)} is the job's own and cannot be shared; send it: --input {file.parameter}=PATH"
            raise InvalidInput(text, field=file.parameter)
        kind = data.kind(file.name)
    if given is None and kind is None:
        raise InvalidInput(_not_sent(file, data), field=file.parameter)
    wanted = "folder" if file.folder else "file"
    if kind != wanted:
        raise InvalidInput(f"{given or data.path(file.name)} is no {wanted}", field=file.parameter)


def _not_sent(file: InputFile, data: SharedFiles) -> str:
    """The ways to say which file is meant: the storage may have one of that name, and be another than this one."""
    how = f"send it: --input {file.parameter}=PATH"
    if not file.shared or not _is_stored(data, file.name):
        return f"{quoted(file.name)} is not in the storage; {how}"
    return (
        f"{quoted(file.name)} is not sent; {how}, or use the storage's: --shared {shlex.quote(f'{file.parameter}={file.name}')}"
    )
