"""What a form asks for, in words for people and values for programs. Checks nothing and fills nothing in."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.catalog.controls.choices import Checkbox, Checklist, Select
from server.catalog.controls.numbers import KeyValues, Number, Range, ValueType
from server.catalog.controls.texts import Note, String
from server.catalog.files import FileList
from server.catalog.model import AnyControl, App, Conditional, Item

_TYPES: Mapping[type[AnyControl], str] = {
    Select: "select",
    Checklist: "checklist",
    Checkbox: "checkbox",
    String: "string",
    Number: "number",
    Range: "range",
    KeyValues: "keyvalues",
    FileList: "filelist",
}
_PAIRS = {
    ValueType.STRING: "pairs of a key and a text",
    ValueType.INTEGER: "pairs of a key and a whole number",
    ValueType.FLOAT: "pairs of a key and a number",
}


@dataclass(frozen=True)
class FieldDescription:
    """One field. ``keys``: its names in the settings; ``type``: its element in the XML; ``defaults``: by key, without empty ones.

    ``accepts``: its values in words; ``choices``: the label of each option by its value; ``minimum`` and ``maximum``: texts of
    numbers, "" for no limit; ``formats``: endings of its files, none for any; ``when``: what other fields have to be for it to
    count.
    """

    section: str
    keys: tuple[str, ...]
    label: str
    type: str
    defaults: Mapping[str, Any]
    required: bool
    accepts: str
    choices: Mapping[str, str] = field(default_factory=dict)
    minimum: str = ""
    maximum: str = ""
    formats: tuple[str, ...] = ()
    when: tuple[str, ...] = ()


def describe(app: App) -> list[FieldDescription]:
    """The fields of an app's form, those of every branch among them, in the order of the XML; notes are none."""
    return [found for section in app.sections for found in _items(section.items, section.title, ())]


def accepted_files(app: App) -> dict[str, list[str]]:
    """The endings that each field of files accepts, by the field's name; an empty list means any."""
    return {control.name: list(control.formats) for control in app.controls() if isinstance(control, FileList)}


def _items(items: Iterable[Item], section: str, when: tuple[str, ...]) -> Iterator[FieldDescription]:
    for item in items:
        control = item.decider if isinstance(item, Conditional) else item
        if not isinstance(control, Note):
            yield _field(control, section, when)
        if isinstance(item, Conditional):
            for branch in item.branches:
                relation = "matches" if branch.pattern else "is"
                yield from _items(branch.items, section, (*when, f"{control.name} {relation} {branch.value}"))


def _field(control: AnyControl, section: str, when: tuple[str, ...]) -> FieldDescription:
    limits = control.limits if isinstance(control, Number | Range) else None
    return FieldDescription(
        section=section,
        keys=control.keys,
        label=control.title,
        type=_TYPES[type(control)],
        defaults={key: value for key, value in control.defaults.items() if value not in ("", [])},
        required=isinstance(control, FileList) and control.required,
        accepts=_accepts(control),
        choices={one.value: one.label for one in control.options} if isinstance(control, Select | Checklist) else {},
        minimum=_text(limits and limits.least),
        maximum=_text(limits and limits.most),
        formats=control.formats if isinstance(control, FileList) else (),
        when=when,
    )


def _accepts(control: AnyControl) -> str:
    match control:
        case Select() | Checklist():
            kind = "one of" if isinstance(control, Select) else "any of"
            return f"{kind} {', '.join(option.value for option in control.options)}"
        case Checkbox():
            return "true or false"
        case Number() | Range():
            return _number(control)
        case KeyValues():
            return _PAIRS[control.type_of]
        case FileList():
            return _files(control)
        case _:
            return "any text"


def _number(control: Number | Range) -> str:
    kind = "a number" if isinstance(control, Number) else "two numbers"
    least, most = _text(control.limits.least), _text(control.limits.most)
    if least and most:
        return f"{kind} from {least} to {most}"
    if least or most:
        return f"{kind}, at least {least}" if least else f"{kind}, at most {most}"
    return kind


def _files(control: FileList) -> str:
    noun = "folder" if control.is_folder else "file"
    kind = f"{noun}s" if control.multiple else f"one {noun}"
    return f"{kind} ending with .{' .'.join(control.formats)}" if control.formats else kind


def _text(number: object) -> str:
    return "" if number is None else str(number)
