"""What a job's settings say, checked against its app: which parameters count, what their values are, which files they name.

Owns the way through sections and conditionals. What one control accepts is decided by the control.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from server.catalog.controls.control import FormError, quoted
from server.catalog.files import FileList, InputFile, one_form
from server.catalog.model import AnyControl, App, Branch, Conditional, Item
from server.catalog.rendering.config import build_config
from server.catalog.rendering.variables import Variables
from server.errors import InvalidInput

__all__ = ["Answer", "InputFile", "answers", "check_settings", "counting", "input_files", "taken"]

_NOWHERE = Variables(1, "/input", "/output", "/config")


@dataclass(frozen=True)
class Answer:
    """A parameter that counts, and the value that the settings have for it."""

    control: AnyControl
    value: Any


def answers(app: App, settings: object) -> list[Answer]:
    """The parameters that count and have a value, in the order of the XML. Raises InvalidInput that names the field."""
    if not isinstance(settings, Mapping):
        raise InvalidInput(f"the settings are {quoted(settings)}, not an object", field="settings")
    given = ((control, control.read(settings)) for control in counting(app, settings))
    return [Answer(control, value) for control, value in given if value is not None]


def counting(app: App, settings: Mapping[str, object]) -> Iterator[AnyControl]:
    """The parameters that count, in the order of the XML. Raises InvalidInput.

    A deciding parameter is read when the one after it is asked for: the caller may set it until then.
    """
    for section in app.sections:
        yield from _counting(section.items, settings)


def check_settings(app: App, settings: object) -> None:
    """Raises InvalidInput where the app cannot be run with these settings; its field is the parameter's name."""
    given = answers(app, settings)
    _check_files(_files(given))
    if app.config_format:
        build_config(((answer.control, answer.value) for answer in given), _NOWHERE)


def input_files(app: App, settings: object) -> list[InputFile]:
    """The files that a job with these settings needs, each once, in the order of the XML. Raises InvalidInput."""
    files: dict[object, InputFile] = {}
    for file in _files(answers(app, settings)):
        known = files.setdefault(_origin(file), file)
        files[_origin(file)] = replace(known, alone=known.alone and file.alone)  # what any run needs has to be whole
    _check_files(files.values())
    return list(files.values())


def taken(conditional: Conditional, settings: Mapping[str, object]) -> Iterator[Branch]:
    """The branches that count for the deciding parameter's value; none where it has none. Raises InvalidInput."""
    decider = conditional.decider
    value = decider.read(settings)
    if value is None:
        return
    for branch in conditional.branches:
        try:
            counts = branch.counts(decider.decides(value))
        except InvalidInput as error:
            decider.refuse(f"is {error.message}")
        if counts:
            yield branch


def _counting(items: Iterable[Item], settings: Mapping[str, object]) -> Iterator[AnyControl]:
    for item in items:
        if isinstance(item, Conditional):
            yield item.decider
            for branch in taken(item, settings):
                yield from _counting(branch.items, settings)
        else:
            yield item


def _files(given: Iterable[Answer]) -> list[InputFile]:
    return [file for answer in given if isinstance(answer.control, FileList) for file in answer.value]


def _origin(file: InputFile) -> object:
    """What two mentions of one file have in common."""
    return file.name, file.shared, file.convert, file.result, file.path


def _check_files(files: Iterable[InputFile]) -> None:
    """All input files of a job are in one folder: no two may have the same name there, before or after they are converted.

    Two spellings of a name in Unicode are one name: programs that find files by one find them by the other.
    """
    names: dict[str, InputFile] = {}
    targets: dict[str, InputFile] = {}
    for file in files:
        other = names.setdefault(one_form(file.name), file)
        if (other.path, other.result) != (file.path, file.result):
            _refuse(file, other, f"{quoted(file.path or file.name)} and {quoted(other.path or other.name)}", "have the same name")
        other = targets.setdefault(one_form(file.target), file)
        if _origin(other) != _origin(file):
            _refuse(
                file, other, f"{quoted(file.name)} and {quoted(other.name)}", f"would both be {quoted(file.target)} for the app"
            )


def _refuse(file: InputFile, other: InputFile, which: str, why: str) -> NoReturn:
    whose = other.title or other.parameter
    text = f"{file.title or file.parameter}: {which} of {whose} {why}: rename one of them"
    raise FormError(text, field=file.parameter)
