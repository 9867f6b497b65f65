"""From a checked XML tree to an app or a workflow. Owns what elements and attributes mean; the XSD has checked their form.

What no XSD can express is refused here with its line: shell text in which values are not safe, bad regular expressions, limits
that contradict each other, defaults that their own control refuses.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from lxml import etree

from server.catalog.controls.choices import Checkbox, Checklist, Option, Select
from server.catalog.controls.control import WrongValue
from server.catalog.controls.numbers import KeyValues, Limits, Number, Range, ValueType, read_limits
from server.catalog.controls.texts import Note, String
from server.catalog.files import FileList, read_formats
from server.catalog.findings import read_findings
from server.catalog.model import AnyControl, App, Branch, Conditional, ConfigFormat, Item, Preset, Section, Step, Workflow
from server.catalog.patterns import Pattern, UnboundedPattern, read_search
from server.catalog.rendering.quoting import NOTHING, ShellText, UnsafeText
from server.catalog.rendering.shell_grammar import read_shell
from server.catalog.xml import BadXml, line_of

_CONFIG_FORMATS: dict[str, ConfigFormat | None] = {"": None, "json": "json", "yaml": "yaml"}
_TYPES = {"int": ValueType.INTEGER, "integer": ValueType.INTEGER, "float": ValueType.FLOAT}


def read_app(root: etree._Element) -> App:
    """The app in a ``tool`` element. Raises BadXml."""
    config_format = _CONFIG_FORMATS[root.get("convert_config_to", "")]
    app = App(
        id=_attribute(root, "id"),
        name=_attribute(root, "name"),
        version=_attribute(root, "version"),
        category=root.get("category", ""),
        description=root.get("description", ""),
        hidden=root.get("hidden", "false") != "false",
        command=_shell(root, "command"),
        config_format=config_format,
        end_tag=_attribute(root, "end_tag"),
        end_tag_location=root.get("end_tag_location", ""),
        version_command=root.get("version_command", ""),
        program=root.get("program", ""),
        licence=root.get("licence", ""),
        sections=tuple(_section(element) for element in root),
        stall_timeout_s=float(root.attrib["stall_timeout_s"]) if root.get("stall_timeout_s") else None,
        findings=read_findings(root),
        internet=root.get("network") == "internet",
    )
    _check_end_tag(root, app)
    if sum(element.get("per_file") == "true" for element in root.iter("filelist")) > 1:
        raise BadXml((line_of(root), "two fields of files have per_file: the app can run file by file for one of them only"))
    if bool(app.program) != bool(app.licence):
        raise BadXml((line_of(root), "program and licence go together: what may be missing, and the terms that it comes with"))
    if config_format is None:
        _check_no_config(root)
    return app


def read_workflow(root: etree._Element) -> Workflow:
    """The workflow in a ``workflow`` element. Raises BadXml where a step needs one that does not come before it."""
    return Workflow(
        id=_attribute(root, "id"),
        name=_attribute(root, "name"),
        version=_attribute(root, "version"),
        category=root.get("category", ""),
        description=root.get("description", ""),
        hidden=root.get("hidden", "false") != "false",
        steps=tuple(_step(element, number) for number, element in enumerate(root)),
    )


def _step(element: etree._Element, number: int) -> Step:
    return Step(_attribute(element, "id"), tuple(_preset(param, number) for param in element))


def _preset(element: etree._Element, number: int) -> Preset:
    source = element.get("from_tool")
    if source is not None and int(source) >= number:
        raise BadXml((line_of(element), f"step {number} takes a value from step {source}, which does not come before it"))
    return Preset(
        name=_attribute(element, "name"),
        value=_attribute(element, "value"),
        from_tool=None if source is None else int(source),
        section=element.get("section", ""),
        visibility=element.get("visibility", ""),
        line=line_of(element),
    )


def _section(element: etree._Element) -> Section:
    return Section(_attribute(element, "name"), _attribute(element, "title"), _items(element))


def _items(element: etree._Element) -> tuple[Item, ...]:
    return tuple(_conditional(child) if child.tag == "conditional" else _control(child) for child in element)


def _conditional(element: etree._Element) -> Conditional:
    first, *branches = element
    return Conditional(_attribute(element, "name"), _control(first), tuple(_branch(child) for child in branches))


def _branch(element: etree._Element) -> Branch:
    value = _attribute(element, "value")
    try:
        pattern = Pattern(value) if _flag(element, "allow_regex") else None
    except UnboundedPattern as error:
        raise BadXml((line_of(element), str(error))) from None
    return Branch(value, pattern, _items(element))


def _control(element: etree._Element) -> AnyControl:
    control, default = _CONTROLS[str(element.tag)](element)
    try:
        control.read(default)
    except WrongValue as error:
        raise BadXml((line_of(element), f"the default of {error.for_authors}")) from None
    return replace(control, defaults=default)


# Each gives the control, and the settings that its own attributes ask for.
_Made = tuple[AnyControl, dict[str, object]]


def _select(element: etree._Element) -> _Made:
    control = Select(**_shared(element), options=_options(element))
    chosen = _selected(control.options) or [option.value for option in control.options[:1]]  # as a page shows it
    return control, {control.name: chosen[0]} if chosen else {}


def _checklist(element: etree._Element) -> _Made:
    control = Checklist(**_shared(element), options=_options(element))
    return control, {control.name: _selected(control.options)}


def _checkbox(element: etree._Element) -> _Made:
    control = Checkbox(**_shared(element), command_if_unchecked=_shell(element, "command_if_unchecked"))
    return control, {control.name: _flag(element, "value")}


def _string(element: etree._Element) -> _Made:
    control = String(**_shared(element, "value"), allow_empty=element.get("allow_empty") != "false")
    return control, {control.name: element.get("value", "")}


def _number(element: etree._Element) -> _Made:
    control = Number(**_shared(element, "value"), limits=_limits(element))
    return control, {control.name: element.get("value", "")}


def _range(element: etree._Element) -> _Made:
    control = Range(**_shared(element, "value", "value2"), limits=_limits(element))
    return control, {f"{control.name}-min": element.get("value", ""), f"{control.name}-max": element.get("value2", "")}


def _keyvalues(element: etree._Element) -> _Made:
    control = KeyValues(
        **_shared(element),
        type_of=_TYPES.get(element.get("type_of", ""), ValueType.STRING),
        is_list=_flag(element, "is_list"),
        repeated_command=_shell(element, "repeated_command", "key", "value"),
    )
    pairs = [(_attribute(option, "key"), _attribute(option, "value")) for option in element]
    return control, {control.name: [[key, [value] if control.is_list else value] for key, value in pairs]}


def _filelist(element: etree._Element) -> _Made:
    control = FileList(
        **_shared(element, "value"),
        multiple=_flag(element, "multiple"),
        is_folder=_flag(element, "is_folder"),
        shared=_flag(element, "is_raw_input"),
        convert=_flag(element, "convert_to_mzml"),
        formats=read_formats(element.get("format", "")),
        required=_flag(element, "required"),
        per_file=_flag(element, "per_file"),
        accepts=None if (accepts := element.get("accepts")) is None else tuple(accepts.split()),
        repeated_command=_shell(element, "repeated_command", "value"),
    )
    if control.per_file and not control.multiple:
        raise BadXml((line_of(element), 'per_file needs multiple="true": it is about several files'))
    return control, {control.name: element.get("value", "")}


def _note(element: etree._Element) -> _Made:
    return Note(name=_attribute(element, "name"), label=_attribute(element, "label")), {}


_CONTROLS: dict[str, Callable[[etree._Element], _Made]] = {
    "select": _select,
    "checklist": _checklist,
    "checkbox": _checkbox,
    "string": _string,
    "number": _number,
    "range": _range,
    "keyvalues": _keyvalues,
    "filelist": _filelist,
    "text": _note,
}


def _shared(element: etree._Element, *places: str) -> dict[str, Any]:
    """What all controls have; ``places``: what may be in the command beside the variables."""
    return {
        "name": _attribute(element, "name"),
        "label": _attribute(element, "label"),
        "command": _shell(element, "command", *places),
        "in_config": not _flag(element, "exclude_from_config"),
    }


def _options(element: etree._Element) -> tuple[Option, ...]:
    options = tuple(
        Option(_attribute(option, "value"), (option.text or "").strip(), bool(option.get("selected")), _shell(option, "command"))
        for option in element
    )
    values = [option.value for option in options]
    for option in element:
        if values.count(_attribute(option, "value")) > 1:
            raise BadXml((line_of(option), f"the option {option.get('value')!r} is given twice"))
    return options


def _selected(options: Iterable[Option]) -> list[str]:
    return [option.value for option in options if option.selected]


def _limits(element: etree._Element) -> Limits:
    try:
        return read_limits(element.get("min", ""), element.get("max", ""), element.get("step", ""))
    except ValueError as error:
        raise BadXml((line_of(element), str(error))) from None


def _shell(element: etree._Element, name: str, *places: str) -> ShellText:
    text = element.get(name, "").strip()
    try:
        found = read_shell(text, frozenset(places)) if text else NOTHING
    except UnsafeText as error:
        raise BadXml((line_of(element), f"{name}: {error}")) from None
    if found.evaluates_next and (element.tag != "tool" or any(len(section) for section in element)):
        raise BadXml((line_of(element), f"{name}: what follows it would be read as shell once more"))
    return found


def _check_end_tag(root: etree._Element, app: App) -> None:
    try:
        read_search(app.end_tag, "end_tag")
    except UnboundedPattern as error:
        raise BadXml((line_of(root), str(error))) from None
    location = app.end_tag_location
    if location.startswith("/") or ".." in location.split("/") or "\0" in location:
        raise BadXml((line_of(root), "end_tag_location is not in the output folder"))


def _check_no_config(root: etree._Element) -> None:
    for element in root.iter():
        if any("%config-file%" in text for text in _commands(element)):
            raise BadXml((line_of(element), "%config-file% is used, but the app has no convert_config_to"))


def _commands(element: etree._Element) -> Iterator[str]:
    return (str(text) for name, text in element.attrib.items() if "command" in str(name))


def _attribute(element: etree._Element, name: str) -> str:
    return str(element.attrib[name])


def _flag(element: etree._Element, name: str) -> bool:
    return element.get(name) == "true"
