"""A workflow's presets, compared with the forms of its apps. Owns which text fits which control; clients fill the forms in."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from server.catalog.controls import Checkbox, Checklist
from server.catalog.model import AnyControl, App, Preset, Workflow
from server.catalog.numbers import KeyValues, Range
from server.errors import InvalidInput

JOB_DIR = re.compile(r"%job_dir_([0-9]{1,4})%")
Controls = Mapping[str, list[AnyControl]]


def unfit_presets(workflow: Workflow, apps: Mapping[str, App]) -> Iterator[tuple[int, str]]:
    """(line, reason) of each preset that no client can fill in. All steps' apps are among ``apps``."""
    forms = [_controls(apps[step.app]) for step in workflow.steps]
    for number, step in enumerate(workflow.steps):
        for preset in step.presets:
            if reason := _problem(preset, number, forms):
                yield preset.line, f"step {number}, {step.app}: {reason}"


def _problem(preset: Preset, number: int, forms: list[Controls]) -> str | None:
    if preset.name not in forms[number]:
        return f"the app has no parameter {preset.name}"
    results = [int(step) for step in JOB_DIR.findall(preset.value)]
    if late := [step for step in results if step >= number]:
        return f"{preset.name} takes results of step {late[0]}, which does not come before it"
    if preset.from_tool is not None and not results:
        known = preset.value in forms[preset.from_tool]
        return None if known else f"step {preset.from_tool} has no parameter {preset.value}, which {preset.name} is to be"
    if "%" in preset.value and not results:
        return None  # a variable of the step itself
    misfits = [_misfit(control, preset.value) for control in forms[number][preset.name]]
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
    except InvalidInput as error:
        return error.message
    return None


def _controls(app: App) -> Controls:
    found: dict[str, list[AnyControl]] = defaultdict(list)
    for control in app.controls():
        found[control.name].append(control)
    return found
