"""Any form of any app: what was left out is as its page shows it, what a page sent in full keeps its meaning."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.catalog.controls.numbers import Number, Range
from server.catalog.files import FileList
from server.catalog.forms import BESIDE, UnknownName, completed, control_of
from server.catalog.model import App, Conditional
from server.catalog.rendering.command import Rendered, render
from server.catalog.values import counting
from server.errors import InvalidInput
from tests.catalog.building import VARIABLES, app
from tests.catalog.filling import as_a_page_sends, forms
from tests.catalog.forms import CATALOG

EVERY_KIND = app(
    '<select name="mode" label="Mode"><option value="a" command="-a"/><option value="b" selected="true" command="-b"/></select>'
    '<checklist name="ions" label="Ions"><option value="x" selected="true" command="-x"/>'
    '<option value="y" command="-y"/></checklist>'
    '<checkbox name="yes" label="Yes" value="true" command="--yes" command_if_unchecked="--no"/>'
    '<string name="deep.text" label="Text" value="hello" command="--text %value%"/>'
    '<number name="number" label="Number" value="1.5" min="-2" max="7" step="0.5" command="--number %value%"/>'
    '<range name="mass" label="Mass" value="1" value2="9" min="0" max="20" command="--mass %value% %value2%"/>'
    '<keyvalues name="mods" label="Mods" label_key="K" label_value="V" type_of="float" repeated_command="-m %key% %value%">'
    '<option key="C" value="57"/></keyvalues>'
    '<filelist name="files" label="Files" multiple="true" is_folder="false" is_raw_input="true" required="true"'
    ' repeated_command="%value%"/><text name="note" label="Only a note"/>'
    '<conditional name="c"><checkbox name="refine" label="Refine" value="false" command="--refine"/>'
    '<when value="true"><number name="limit" label="Limit" value="3" max="5" command="--limit %value%"/>'
    '<keyvalues name="more" label="More" label_key="K" label_value="V" repeated_command="--more %key% %value%">'
    '<option key="N" value="1"/></keyvalues></when>'
    '<when value="false"><number name="limit" label="Limit" value="4" max="9" command="--other %value%"/></when></conditional>',
    id="every_1",
    convert_config_to="json",
)
APPS = {**CATALOG.apps(), EVERY_KIND.id: EVERY_KIND}
each_app = pytest.mark.parametrize("app_id", APPS)
patient = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


def runs(known: App, form: dict[str, Any]) -> Rendered:
    return render(known, form, VARIABLES)


@each_app
@patient
@given(data=st.data())
def test_what_a_page_sent_means_what_it_says_without_any_filling_in(app_id: str, data: st.DataObject) -> None:
    known = APPS[app_id]
    form = as_a_page_sends(data.draw(forms(known)), known)
    made = completed(known, form)
    assert made == form
    assert runs(known, made) == runs(known, form)


@each_app
@patient
@given(data=st.data())
def test_fields_that_are_left_out_are_as_if_they_stood_there_untouched(app_id: str, data: st.DataObject) -> None:
    known = APPS[app_id]
    form = data.draw(forms(known))
    touched = data.draw(st.sets(st.sampled_from([control for control in counting(known, form) if control.keys])))
    kept = {key for control in touched for key in control.keys} | {key for key in form if _is_required(known, key)}
    whole = completed(known, {key: value for key, value in form.items() if key in kept})
    left_out = data.draw(st.sets(st.sampled_from(sorted(whole.keys() - kept) or ["-"])))
    made = completed(known, {key: value for key, value in whole.items() if key not in left_out})
    assert made == whole
    assert runs(known, made) == runs(known, whole)
    for control in counting(known, whole):
        assert control.read(whole) == control.read(form if kept & set(control.keys) else control.defaults)


def _is_required(known: App, key: str) -> bool:
    """Whether the field needs a file, or decides whether another does."""
    items = [item for section in known.sections for item in section.items]
    chosen = [item for item in items if key in (item.decider.keys if isinstance(item, Conditional) else item.keys)]
    inner = (one for item in chosen if isinstance(item, Conditional) for branch in item.branches for one in branch.items)
    fields = [control_of(known, key), *chosen, *inner]
    return any(isinstance(one, FileList) and one.required for one in fields)


@each_app
@patient
@given(data=st.data(), name=st.text(max_size=200))
def test_a_name_that_no_field_has_is_refused_whatever_else_the_form_holds(app_id: str, data: st.DataObject, name: str) -> None:
    known = APPS[app_id]
    keys = {key for control in known.controls() for key in control.keys} | BESIDE | {control.name for control in known.controls()}
    unknown = f"{name}?" if name in keys else name
    with pytest.raises(UnknownName) as refused:
        completed(known, {**data.draw(forms(known)), unknown: data.draw(st.none() | st.booleans() | st.text())})
    assert f"{known.name} has no field " in refused.value.message
    assert refused.value.field == unknown[:100].encode(errors="replace").decode()


@each_app
@patient
@given(data=st.data())
def test_a_number_beyond_its_limits_is_refused_by_its_label_wherever_it_counts(app_id: str, data: st.DataObject) -> None:
    known = APPS[app_id]
    form = data.draw(forms(known))
    limited = [one for one in counting(known, form) if isinstance(one, Number | Range) and _beyond(one)]
    if not limited:
        return
    control = data.draw(st.sampled_from(limited))
    key, beyond = data.draw(st.sampled_from(control.keys)), data.draw(st.sampled_from(_beyond(control)))
    with pytest.raises(InvalidInput) as refused:
        completed(known, {**form, key: beyond})
    assert refused.value.field == key
    assert refused.value.message.startswith(f"{control.title_of(key)} is {beyond}, ")


def _beyond(control: Number | Range) -> list[str]:
    least, most, little = control.limits.least, control.limits.most, Decimal("0.0001")
    below, above = [] if least is None else [least - little], [] if most is None else [most + little]
    return [str(number) for number in below + above]


def test_a_branch_that_no_page_has_shown_is_filled_with_its_lists() -> None:
    """Somebody takes a page's form and sets a deciding field anew."""
    pairs = '<keyvalues name="{0}" label="{0}" label_key="K" label_value="V"><option key="N" value="1"/></keyvalues>'
    known = app(
        f'{pairs.format("mods")}<conditional name="c"><checkbox name="refine" label="Refine" value="false"/><when value="true">'
        f'<number name="limit" label="Limit" value="3"/>{pairs.format("more")}</when></conditional>'
    )
    page = {"app_id": "app_1", "refine": False}
    assert completed(known, {**page, "refine": True}) == {**page, "refine": True, "limit": "3", "more": [["N", "1"]]}
    assert completed(known, {**page, "refine": True, "limit": "4"}) == {**page, "refine": True, "limit": "4"}


def test_a_page_that_was_drawn_before_the_app_gained_a_field_keeps_its_emptied_lists() -> None:
    page = as_a_page_sends(completed(EVERY_KIND, {"files": ["/x/a"], "mods": []}), EVERY_KIND)
    del page["number"]
    made = completed(EVERY_KIND, page)
    assert ("mods" in made, made["number"]) == (False, "1.5")


@pytest.mark.parametrize("beside", [{}, {"app_id": "x"}, {"app_id": "x", "advanced_parameters_visible": True, "workflow_id": ""}])
def test_x_tandem_with_its_two_files_alone_runs_as_its_untouched_form(beside: dict[str, Any]) -> None:
    xtandem = CATALOG.get("xtandem_2017.2.1.4")
    command = runs(xtandem, completed(xtandem, {"spectra": ["/x/a.mzML"], "database": "/x/p.fasta", **beside})).command
    for piece in ("--fixed 'C' '57.021464'", "--variable 'M' '15.994915'", "'protein, cleavage site' '[RK]|{P}'", "refine no"):
        assert piece in command


def test_all_fields_of_files_that_are_missing_are_named() -> None:
    with pytest.raises(InvalidInput, match="Spectrum files and Protein database are missing: a file") as refused:
        completed(CATALOG.get("comet_2019.015"), {})
    assert refused.value.field == "spectra"


@pytest.mark.parametrize("name", ["Enzyme", "ENZYME", "enzym", "Enzime"])
def test_a_label_or_another_spelling_is_understood_as_what_may_be_meant(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"did you mean enzyme\?"):
        completed(CATALOG.get("comet_2019.015"), {name: "trypsin"})


def test_a_note_has_no_value_whatever_is_sent_for_it() -> None:
    assert completed(app('<text name="note" label="Only a note"/>'), {"note": ""}) == {"note": ""}
