"""A form as its page would send it: defaults where nothing was given, unknown names and missing files refused.

Owns what is filled in. What one control accepts is its own matter, which ones count :mod:`server.catalog.values` decides.
"""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from server.catalog.controls import Checkbox, Checklist, shown
from server.catalog.files import FileList
from server.catalog.model import AnyControl, App
from server.catalog.numbers import KeyValues, Range
from server.catalog.values import counting
from server.errors import InvalidInput

# What a page sends beside the parameters; the first says that it was a page.
BESIDE = frozenset({"app_id", "advanced_parameters_visible", "workflow_id"})
FROM_A_PAGE = "app_id"
# Their empty values are not sent by any page: what is missing in its form was emptied by somebody.
LEFT_OUT_IF_EMPTY = (Checklist, KeyValues, Range, FileList)


def filled(app: App, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the defaults of all parameters that count and were not given.

    Raises InvalidInput for a name that no parameter has, and for a deciding value that is not accepted.
    """
    require_names(app, given)
    form = {name: value for name, value in given.items() if value is not None}
    for control in counting(app, form):
        for key, value in _defaults(control, given).items():
            form.setdefault(key, value)
    return form


def require_files(app: App, form: Mapping[str, Any]) -> None:
    """Raises InvalidInput for the first field of files that counts, is required and has none."""
    for control in counting(app, form):
        if isinstance(control, FileList) and control.required and control.read(form) is None:
            control.refuse("is missing: a file has to be given")


def require_names(app: App, names: Iterable[str]) -> None:
    """Raises InvalidInput for the first name that the app has no parameter of, with the one that may be meant."""
    known = [key for control in app.controls() for key in control.keys]
    for name in names:
        if name not in known and name not in BESIDE:
            refuse_name(app.name, name, known)


def refuse_name(whose: str, name: str, known: Iterable[str]) -> NoReturn:
    """Raise InvalidInput for a name that is none of the known ones."""
    names = list(dict.fromkeys(known))
    close = get_close_matches(name, names, n=1)
    advice = f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
    raise InvalidInput(f"{whose} has no field {shown(name)}; {advice}")


def control_of(app: App, key: str) -> AnyControl | None:
    """The parameter that has this key in the settings; the first where branches have one each. None where there is none."""
    return next((control for control in app.controls() if key in control.keys), None)


def from_text(control: AnyControl, text: str) -> object:
    """The value that a typed text stands for: ``true``, ``false``, lists as JSON, all else as it is. Raises InvalidInput."""
    if isinstance(control, Checkbox):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(control, Checklist | KeyValues):
        try:
            return json.loads(text) if text else []
        except (ValueError, RecursionError):
            control.refuse(f"is {shown(text)}, not a list in JSON")
    return text


def _defaults(control: AnyControl, given: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(control, LEFT_OUT_IF_EMPTY):
        return control.defaults
    is_empty = any(value in ("", []) for value in control.defaults.values())
    return {} if is_empty or FROM_A_PAGE in given else control.defaults
