"""Forms that somebody has filled in only partly."""

import json
from typing import Any

import pytest

from server.catalog.apps import Catalog
from server.catalog.forms import control_of, filled, from_text, require_files
from server.catalog.values import check_settings
from server.errors import InvalidInput
from server.settings import CHECKOUT
from tests.catalog.building import app

CATALOG = Catalog(CHECKOUT / "apps")
FILES = '<filelist name="f" label="F" multiple="true" is_folder="false" is_raw_input="true" required="{}"/>'
PAIRS = '<keyvalues name="k" label="K" label_key="A" label_value="B">{}</keyvalues>'
BRANCHES = (
    '<conditional name="c"><select name="d" label="D"><option value="x" selected="true"/><option value="y"/></select>'
    '<when value="x"><number name="n" label="N" value="1"/></when>'
    f'<when value="y"><number name="n" label="N" value="2"/>{FILES.format("true")}</when></conditional>'
)


@pytest.mark.parametrize(
    ("item", "defaults"),
    [
        ('<select name="p" label="P"><option value="a"/><option value="b" selected="true"/></select>', {"p": "b"}),
        ('<select name="p" label="P"><option value="a"/><option value="b"/></select>', {"p": "a"}),
        ('<checklist name="p" label="P"><option value="a" selected="true"/><option value="b"/></checklist>', {"p": ["a"]}),
        ('<checklist name="p" label="P"><option value="a"/></checklist>', {}),
        ('<checkbox name="p" label="P" value="true"/>', {"p": True}),
        ('<checkbox name="p" label="P" value="false"/>', {"p": False}),
        ('<string name="p" label="P" value="hello"/>', {"p": "hello"}),
        ('<string name="p" label="P"/>', {"p": ""}),
        ('<number name="p" label="P" value="1.50"/>', {"p": "1.50"}),
        ('<number name="p" label="P"/>', {"p": ""}),
        ('<range name="p" label="P" value="1" value2="2"/>', {"p-min": "1", "p-max": "2"}),
        ('<range name="p" label="P" value="1"/>', {}),
        (PAIRS.format('<option key="C" value="57"/>'), {"k": [["C", "57"]]}),
        (PAIRS.format(""), {}),
        (FILES.format("true"), {}),
        ('<text name="p" label="Only a note"/>', {}),
    ],
)
def test_an_untouched_field_is_sent_as_its_page_shows_it(item: str, defaults: dict[str, Any]) -> None:
    made = filled(app(item), {})
    assert made == defaults
    check_settings(app(item), made)


@pytest.mark.parametrize("form", ["settings.json", "filter.json"])
def test_the_forms_of_the_example_are_what_a_page_sent(form: str) -> None:
    """They were written by a client: all that it sent is filled in again from a few fields."""
    sent = json.loads((CHECKOUT / "examples" / "bsa" / form).read_text())
    given = {"spectra", "database", "ms_level", "threshold_kind", "threshold_count"}
    made = filled(CATALOG.get(sent["app_id"]), {name: value for name, value in sent.items() if name in given})
    beside = {"app_id", "advanced_parameters_visible"}
    # A number that is empty may be sent or not: it adds nothing to the command.
    assert {name: value for name, value in made.items() if value != ""} == {k: v for k, v in sent.items() if k not in beside}


def test_what_was_given_stays() -> None:
    item = '<number name="n" label="N" value="1"/><string name="s" label="S" value="x"/>'
    ends = '<range name="r" label="R" value="1" value2="9"/>'
    assert filled(app(item + ends), {"n": "", "s": "", "r-max": "5"}) == {"n": "", "s": "", "r-min": "1", "r-max": "5"}


def test_nothing_is_no_answer() -> None:
    assert filled(app('<number name="n" label="N" value="1"/>'), {"n": None}) == {"n": "1"}


@pytest.mark.parametrize(("given", "default"), [({}, "1"), ({"d": "x"}, "1"), ({"d": "y"}, "2")])
def test_only_the_branch_that_counts_is_filled_in(given: dict[str, str], default: str) -> None:
    assert filled(app(BRANCHES), given)["n"] == default


def test_lists_that_somebody_has_emptied_on_a_page_stay_empty() -> None:
    """A page does not send an empty list at all; from anybody else, a missing one is an untouched one."""
    made = app(PAIRS.format('<option key="C" value="57"/>') + '<number name="n" label="N" value="1"/>')
    assert filled(made, {"app_id": "app_1", "n": "1"}) == {"app_id": "app_1", "n": "1"}
    assert filled(made, {"k": []}) == {"k": [], "n": "1"}


def test_a_form_with_an_app_s_id_but_few_fields_comes_from_no_page() -> None:
    made = app(PAIRS.format('<option key="C" value="57"/>') + '<number name="n" label="N" value="1"/>')
    assert filled(made, {"app_id": "app_1"}) == {"app_id": "app_1", "n": "1", "k": [["C", "57"]]}


def test_a_required_file_is_missing_only_where_it_counts() -> None:
    require_files(app(BRANCHES), {"d": "x"})
    require_files(app(BRANCHES), {"d": "y", "f": ["/x/a"]})
    require_files(app(FILES.format("false")), {})
    for given in ({}, {"f": []}, {"f": ""}):
        with pytest.raises(InvalidInput, match="F is missing") as refused:
            require_files(app(BRANCHES), {"d": "y", **given})
        assert refused.value.field == "f"


@pytest.mark.parametrize(
    ("name", "advice"),
    [("enzym", "did you mean enzyme?"), ("digest_mass", "did you mean digest_mass-"), ("x", "it has spectra, ")],
)
def test_a_name_that_no_field_has_is_refused_with_the_one_that_may_be_meant(name: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=f"Comet has no field '{name}'") as refused:
        filled(CATALOG.get("comet_2019.015"), {name: "x"})
    assert advice in refused.value.message


@pytest.mark.parametrize(
    ("item", "text", "value"),
    [
        ('<checkbox name="p" label="P" value="true"/>', "false", False),
        ('<checkbox name="p" label="P" value="true"/>', "no", "no"),
        ('<number name="p" label="P"/>', "1.50", "1.50"),
        ('<string name="p" label="P"/>', "[a=b", "[a=b"),
        ('<checklist name="p" label="P"><option value="a"/></checklist>', '["a"]', ["a"]),
        ('<checklist name="p" label="P"><option value="a"/></checklist>', "", []),
    ],
)
def test_what_is_typed_becomes_the_field_s_kind_of_value(item: str, text: str, value: object) -> None:
    control = control_of(app(item), "p")
    assert control is not None
    assert from_text(control, text) == value


@pytest.mark.parametrize("text", ["a", "[", "[" * 100_000])
def test_a_list_that_is_no_json_is_refused(text: str) -> None:
    control = control_of(app(PAIRS.format("")), "k")
    assert control is not None
    with pytest.raises(InvalidInput, match="not a list in JSON"):
        from_text(control, text)
