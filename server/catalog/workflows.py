"""A workflow's presets: which fit the forms of its apps, and what each is once the forms of the steps before are filled in."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.catalog.controls.choices import Checkbox, Checklist
from server.catalog.controls.control import WrongValue
from server.catalog.controls.numbers import KeyValues, Range
from server.catalog.files import FileList, InputFile
from server.catalog.forms import control_of, from_text
from server.catalog.model import AnyControl, App, Preset, Workflow
from server.catalog.values import counting
from server.errors import InvalidInput

JOB_DIR = re.compile(r"%job_dir_([0-9]{1,4})%")
# The name of a field of files: means the name of each of its files, without the ending.
_FILES_OF = re.compile(r"%(?!job_dir_|input_dir%|output_dir%|nb_threads%|config-file%)([^%/]+)%")
Controls = Mapping[str, list[AnyControl]]


def unfit_presets(workflow: Workflow, apps: Mapping[str, App]) -> Iterator[tuple[int, str]]:
    """(line, reason) of each preset that no client can fill in. All steps' apps are among ``apps``."""
    forms = [_controls(apps[step.app]) for step in workflow.steps]
    for number, step in enumerate(workflow.steps):
        for preset in step.presets:
            if reason := _problem(preset, number, forms):
                yield preset.line, f"step {number}, {step.app}: {reason}"


@dataclass(frozen=True)
class FilledStep:
    """A step with its form filled in."""

    app: App
    form: Mapping[str, Any]


def preset_values(presets: Iterable[Preset], app: App, before: Sequence[FilledStep]) -> dict[str, Any]:
    """What a step's presets put into its form, by key; ``before``: the steps before it, filled in.

    Raises InvalidInput for a preset that the form has no field for, or no single text can be.
    """
    values: dict[str, Any] = {}
    for preset in presets:
        control = control_of(app, preset.name) or next((one for one in app.controls() if one.name == preset.name), None)
        if control is None:
            raise InvalidInput(f"{app.name} has no field {preset.name}, which the workflow sets")
        values.update(_values(preset, control, before))
    return values


def _values(preset: Preset, control: AnyControl, before: Sequence[FilledStep]) -> dict[str, Any]:
    if JOB_DIR.search(preset.value):
        files = _named_results(preset, before)
        return {control.name: files if isinstance(control, FileList) else "".join(files[:1])}
    if preset.from_tool is not None:
        source = before[preset.from_tool]
        taken = next((one for one in source.app.controls() if one.name == preset.value), None)
        keys = taken.keys if taken else ()
        return {key: source.form[other] for key, other in zip(control.keys, keys, strict=False) if other in source.form}
    if isinstance(control, Range):
        control.refuse("is a range, which a workflow cannot set")
    if isinstance(control, Checklist):
        return {control.name: [preset.value]}
    return {control.name: from_text(control, preset.value)}


def _named_results(preset: Preset, before: Sequence[FilledStep]) -> list[str]:
    """The results that a preset means: one for each file of the field whose name is in it, or the one that it names."""
    found = _FILES_OF.search(preset.value)
    if found is None or preset.from_tool is None:
        return [preset.value]
    source = before[preset.from_tool]
    fields = (one for one in counting(source.app, source.form) if isinstance(one, FileList) and one.name == found[1])
    files = next((field.read(source.form) for field in fields), None) or ()
    before_name, after_name = preset.value[: found.start()], preset.value[found.end() :]
    return [f"{before_name}{_stem(file)}{after_name}" for file in files]


def _stem(file: InputFile) -> str:
    """A file's name as the app gets it, without its last ending: what results are called after."""
    return file.target.rpartition(".")[0] or file.target


def _problem(preset: Preset, number: int, forms: list[Controls]) -> str | None:
    if preset.name not in forms[number]:
        return f"the app has no parameter {preset.name}"
    results = [int(step) for step in JOB_DIR.findall(preset.value)]
    if late := [step for step in results if step >= number]:
        return f"{preset.name} takes results of step {late[0]}, which does not come before it"
    if preset.from_tool is not None and not results:
        if preset.value in forms[preset.from_tool]:
            return None
        return f"step {preset.from_tool} has no parameter {preset.value}, from which {preset.name} gets its value"
    if "%" in preset.value and not results:
        return None  # a variable of the step itself
    for name in _FILES_OF.findall(preset.value):
        source = forms[number if preset.from_tool is None else preset.from_tool].get(name, [])
        if preset.from_tool is None or not any(isinstance(control, FileList) for control in source):
            return f"{preset.name} has %{name}%, which is no field of files of the step that from_tool says"
    misfits = [_misfit(control, _FILES_OF.sub("name", preset.value)) for control in forms[number][preset.name]]
    return misfits[0] if all(misfits) else None


def _misfit(control: AnyControl, text: str) -> str | None:
    """Why a control of a form cannot be set to a text; None if it can, or has no value that one text could be."""
    if isinstance(control, KeyValues | Range):
        return None
    value: object = text
    if isinstance(control, Checkbox):
        value = {"true": True, "false": False}.get(text, text)
    elif isinstance(control, Checklist):
        value = [text]
    try:
        control.read({control.name: value})
    except WrongValue as error:
        return error.for_authors
    return None


def _controls(app: App) -> Controls:
    found: dict[str, list[AnyControl]] = defaultdict(list)
    for control in app.controls():
        found[control.name].append(control)
    return found
