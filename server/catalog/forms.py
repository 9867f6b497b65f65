"""From what was given for a form to the form that runs: the one way, whoever gave it.

Fields that were not given get their defaults, as on the desktop client's page. Unknown names, missing files and values that
are not accepted are refused. Owns what is filled in; what a control accepts is decided by the control, and which ones count
 in :mod:`server.catalog.values`.
"""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from server.catalog.controls.choices import Checkbox, Checklist
from server.catalog.controls.control import FormError, WrongValue, quoted
from server.catalog.controls.numbers import KeyValues, Range
from server.catalog.controls.texts import Note
from server.catalog.files import FileList
from server.catalog.model import AnyControl, App, Conditional, Item
from server.catalog.values import check_settings, counting, taken
from server.errors import InvalidInput

# What a page sends beside the parameters; the first says that it was a page.
BESIDE = frozenset({"app_id", "advanced_parameters_visible", "workflow_id"})
FROM_A_PAGE = "app_id"
# Their empty values are not sent by any page: one that is missing in a page's form was emptied by somebody.
LEFT_OUT_IF_EMPTY = (Checklist, KeyValues, Range, FileList)
MAX_NAME = 100  # characters of an unknown name that are repeated


class UnknownName(FormError):
    """A name that no field of a form has; ``field`` is the name."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message, field=name[:MAX_NAME].encode(errors="replace").decode())


class MissingFiles(FormError):
    """Fields that cannot be left empty are: ``names`` are their keys, ``field`` the first of them."""

    def __init__(self, controls: Iterable[FileList]) -> None:
        titles = {control.name: control.title for control in controls}
        self.names = tuple(titles)
        super().__init__(missing(titles.values()), field=self.names[0])


def missing(titles: Iterable[str]) -> str:
    """The sentence that says which fields of files have none."""
    *others, last = titles
    if not others:
        return f"{last} is missing: a file has to be given"
    return f"{', '.join(others)} and {last} are missing: a file has to be given for each"


def completed(app: App, given: Mapping[str, Any]) -> dict[str, Any]:
    """The form that a job runs with, complete and checked. Completing it again changes nothing.

    Raises InvalidInput whose message names the field by its label and whose ``field`` is the parameter's key: for an unknown
    name, a required field without a file, and a value that is not accepted.
    """
    form = filled(app, given)
    require_files(app, form)
    check_settings(app, form)
    return form


def filled(app: App, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, with the defaults of all parameters that count and were not given. Files may still be missing.

    Raises InvalidInput for a name that no parameter has, and for a deciding value that is not accepted.
    """
    require_names(app, given)
    form = {name: value for name, value in given.items() if value is not None}
    items = [item for section in app.sections for item in section.items]
    _fill(items, form, given, from_page=FROM_A_PAGE in given and _was_on_page(items, given))
    return form


def require_files(app: App, form: Mapping[str, Any]) -> None:
    """Raises MissingFiles where fields of files count, are required and have none; it names all of them."""
    files = [control for control in counting(app, form) if isinstance(control, FileList) and control.required]
    if empty := [control for control in files if control.read(form) is None]:
        raise MissingFiles(empty)


def require_names(app: App, names: Iterable[str]) -> None:
    """Raises UnknownName for the first name that the app has no parameter of, with the one that may be meant."""
    known = known_names(app)
    for name in names:
        if name not in known:
            refuse_name(app.name, name, {key: control.label for control in app.controls() for key in control.keys})


def known_names(app: App) -> frozenset[str]:
    """All names that a form of the app may have: its fields, its notes (without a value, whatever is sent), what pages add."""
    notes = {control.name for control in app.controls() if isinstance(control, Note)}
    return BESIDE | notes | {key for control in app.controls() for key in control.keys}


def refuse_name(whose: str, name: str, labels: Mapping[str, str]) -> NoReturn:
    """Raise UnknownName for a name that is none of the known ones; ``labels``: the known names with what people call them."""
    meant = {**{label.lower(): key for key, label in labels.items()}, **{key.lower(): key for key in labels}}
    close = get_close_matches(name[:MAX_NAME].lower(), meant, n=1)
    advice = f"did you mean {meant[close[0]]}?" if close else f"it has {', '.join(labels) or 'none at all'}"
    raise UnknownName(f"{whose} has no field {quoted(name)}; {advice}", name)


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
            control.refuse(f"is {quoted(text)}, not a list in JSON")
    return text


def _fill(items: Iterable[Item], form: dict[str, Any], given: Mapping[str, Any], *, from_page: bool) -> None:
    """Put into the form what is missing of these items, and of the branches that count once the deciding values are there."""
    for item in items:
        for key, value in _defaults(_control(item), from_page=from_page).items():
            form.setdefault(key, value)
        if isinstance(item, Conditional):
            for branch in taken(item, form):
                _fill(branch.items, form, given, from_page=from_page and _was_on_page(branch.items, given))


def _defaults(control: AnyControl, *, from_page: bool) -> Mapping[str, Any]:
    if not isinstance(control, LEFT_OUT_IF_EMPTY):
        return control.defaults
    is_empty = any(value in ("", []) for value in control.defaults.values())
    return {} if is_empty or from_page else control.defaults


def _was_on_page(items: Iterable[Item], given: Mapping[str, Any]) -> bool:
    """Whether a page that sent this form showed these items: it sends each of them that is no list, even untouched.

    A few may be missing all the same, where the app has gained fields since the page was drawn. Items of branches within
    are not considered.
    """
    controls = [control for control in map(_control, items) if not isinstance(control, LEFT_OUT_IF_EMPTY)]
    sent = [key in given for control in controls for key in control.keys]
    return 2 * sum(sent) >= len(sent)


def _control(item: Item) -> AnyControl:
    return item.decider if isinstance(item, Conditional) else item


def labelled(app: App, error: InvalidInput, *, with_field: bool = False) -> InvalidInput:
    """The error in a person's words: a field by its label and by the name that options know it by.

    ``with_field``: for programs, which look for the field beside the words.
    """
    control = control_of(app, error.field) if error.field else None
    if control is None or error.field is None:
        return error
    return InvalidInput(_in_words(app, error, error.field, control.title), field=error.field if with_field else None)


def _in_words(app: App, error: InvalidInput, name: str, title: str) -> str:
    if isinstance(error, MissingFiles):
        return missing(titled(app, one) for one in error.names)
    if isinstance(error, WrongValue):
        return f"{titled(app, name)} {error.reason}"
    return f"{titled(app, name)}: {error.message.removeprefix(f'{title}: ')}"


def titled(app: App, name: str) -> str:
    """A field by its label and its name."""
    control = control_of(app, name)
    return f"{control.title} ({name})" if control else name
