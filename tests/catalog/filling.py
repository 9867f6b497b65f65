"""Forms as people fill them in: Hypothesis strategies for whatever app there is."""

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from server.catalog.controls.choices import Checkbox, Checklist, Select
from server.catalog.controls.numbers import KeyValues, Number, Range, ValueType
from server.catalog.files import FileList
from server.catalog.model import AnyControl, App, Conditional, Item
from server.catalog.values import taken

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
Draw = st.DrawFn


@st.composite
def forms(draw: Draw, app: App) -> dict[str, Any]:
    """A complete form with any values that fit: of each field that counts and of no other; lists may be empty."""
    form: dict[str, Any] = {}
    for section in app.sections:
        _fill_in(draw, section.items, form)
    return form


def as_a_page_sends(form: Mapping[str, Any], app: App) -> dict[str, Any]:
    """A complete form with what a page sends beside it, and without what it does not send: empty lists."""
    sent = {name: value for name, value in form.items() if value != []}
    return {"app_id": app.id, "advanced_parameters_visible": False, **sent}


def _fill_in(draw: Draw, items: Iterable[Item], form: dict[str, Any]) -> None:
    for item in items:
        control = item.decider if isinstance(item, Conditional) else item
        form.update(draw(_values(control)))
        if isinstance(item, Conditional):
            for branch in taken(item, form):
                _fill_in(draw, branch.items, form)


def _values(control: AnyControl) -> st.SearchStrategy[dict[str, Any]]:
    if isinstance(control, Range):
        ends = st.lists(numbers(control), min_size=2, max_size=2).map(lambda found: sorted(found, key=float))
        return ends.map(lambda found: dict(zip(control.keys, found, strict=True)))
    return st.fixed_dictionaries({key: _value(control) for key in control.keys})


def _value(control: AnyControl) -> st.SearchStrategy[Any]:
    match control:
        case Select():
            return st.sampled_from([option.value for option in control.options])
        case Checklist():
            return st.lists(st.sampled_from([option.value for option in control.options]), unique=True)
        case Checkbox():
            return st.booleans()
        case Number():
            return numbers(control) | st.just("")
        case KeyValues():
            value = TEXT if control.type_of is ValueType.STRING else st.integers(-1000, 1000).map(str)
            pair = st.tuples(TEXT.filter(bool), st.lists(value, max_size=2) if control.is_list else value).map(list)
            return st.lists(pair, max_size=3, unique_by=lambda found: str(found[0]))  # a config file has each key once
        case FileList():
            return _files(control)
    return TEXT


def numbers(control: Number | Range) -> st.SearchStrategy[str]:
    """Any decimals between the limits, whatever the step."""
    least, most = control.limits.least, control.limits.most
    low, high = -1000 if least is None else least, 100_000 if most is None else most
    return st.decimals(low, high, places=4).map(str)


def _files(control: FileList) -> st.SearchStrategy[list[str]]:
    """Each with a name that no other field of the form has."""
    ending = f".{control.formats[0]}" if control.formats else ".txt"
    most = 3 if control.multiple else 1
    names = st.lists(st.integers(0, 9), min_size=int(control.required), max_size=most, unique=True)
    return names.map(lambda found: [f"/far/{control.name}{number}{ending}" for number in found])
