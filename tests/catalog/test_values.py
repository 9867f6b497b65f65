import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalog.model import App
from server.catalog.values import InputFile, answers, check_settings, input_files
from server.errors import InvalidInput
from tests.catalog.building import app, command


def text(name: str) -> str:
    return f'<string name="{name}" label="L" command="--{name} %value%"/>'


def files(name: str, *, shared: bool = True, convert: bool = False, folder: bool = False, formats: str = "") -> str:
    flags = {"is_raw_input": shared, "convert_to_mzml": convert, "is_folder": folder, "multiple": True}
    attributes = " ".join(f'{key}="{str(value).lower()}"' for key, value in flags.items())
    return f'<filelist name="{name}" label="L" format="{formats}" {attributes} repeated_command="--{name} %value%"/>'


def conditional(decider: str, **branches: str) -> str:
    whens = "".join(f'<when value="{value}">{items}</when>' for value, items in branches.items())
    return f'<conditional name="c">{decider}{whens}</conditional>'


SELECT = '<select name="d" label="D"><option value="x" command="-x">X</option><option value="y">Y</option></select>'
CHECKBOX = '<checkbox name="d" label="D" value="true" command="-d"/>'
NUMBER = '<number name="d" label="D" command="-d %value%"/>'
NESTED = conditional(SELECT, x=conditional(CHECKBOX.replace('"d"', '"e"'), true=text("a")))
TWICE = conditional(SELECT, x=text("a")).replace("<when", '<when value="x"/><when', 1)
TWO = conditional(SELECT, x=text("a"), y=text("b"))


def test_pieces_come_in_the_order_of_the_xml_and_not_of_the_settings() -> None:
    items = text("a") + TWO.replace('"a"', '"m"') + text("z")
    assert command(items, {"z": "3", "m": "2", "d": "x", "a": "1"}) == "--a '1' -x --a '2' --z '3'"


@pytest.mark.parametrize(
    ("items", "settings", "piece"),
    [
        (TWO, {"d": "x", "a": "1", "b": "2"}, "-x --a '1'"),
        (TWO, {"d": "y", "a": "1", "b": "2"}, "--b '2'"),
        (TWO, {"a": "1", "b": "2"}, ""),
        (conditional(CHECKBOX, true=text("a"), false=text("b")), {"d": True, "a": "1", "b": "2"}, "-d --a '1'"),
        (conditional(CHECKBOX, true=text("a"), false=text("b")), {"d": False, "a": "1", "b": "2"}, "--b '2'"),
        (conditional(text("d"), x=text("a")), {"d": "x", "a": "1"}, "--d 'x' --a '1'"),
        (conditional(text("d"), x=text("a")), {"d": "xx", "a": "1"}, "--d 'xx'"),
        (conditional(NUMBER, **{"3": text("a")}), {"d": "3", "a": "1"}, "-d '3' --a '1'"),
        (conditional(NUMBER, **{"3": text("a")}), {"d": 3, "a": "1"}, "-d '3' --a '1'"),
        (conditional(NUMBER, **{"3": text("a")}), {"d": "", "a": "1"}, ""),
        (conditional(text("d"), **{'^x+$" allow_regex="true': text("a")}), {"d": "xxx", "a": "1"}, "--d 'xxx' --a '1'"),
        (conditional(text("d"), **{'x" allow_regex="true': text("a")}), {"d": "axa", "a": "1"}, "--d 'axa' --a '1'"),
        (conditional(text("d"), **{'x.x" allow_regex="false': text("a")}), {"d": "xax", "a": "1"}, "--d 'xax'"),
        (NESTED, {"d": "x", "e": True, "a": "1"}, "-x -d --a '1'"),
        (NESTED, {"d": "y", "e": True, "a": "1"}, ""),
        (TWICE, {"d": "x", "a": "1"}, "-x --a '1'"),
    ],
)
def test_only_the_branches_that_the_deciding_parameter_chooses_count(items: str, settings: dict[str, Any], piece: str) -> None:
    assert command(items, settings) == piece


def test_values_of_other_branches_are_not_even_looked_at() -> None:
    items = conditional(SELECT, x=text("a"), y='<number name="n" label="N" min="0"/>' + files("f"))
    settings = {"d": "x", "a": "1", "n": "-1", "f": ["/x/.."]}
    check_settings(app(items), settings)
    assert input_files(app(items), settings) == []
    with pytest.raises(InvalidInput):
        check_settings(app(items), {**settings, "d": "y"})


def test_what_is_no_parameter_is_ignored() -> None:
    settings = {"app_id": "x", "advanced_parameters_visible": True, "workflow_id": None, "other": [1], "c": "x"}
    assert command(TWO, {**settings, "d": "y"}) == ""


def test_a_text_too_long_for_a_regular_expression_is_refused_with_its_field() -> None:
    items = conditional(text("d"), **{'x+" allow_regex="true': text("a")})
    with pytest.raises(InvalidInput, match="longer than") as refusal:
        check_settings(app(items), {"d": "x" * 5000})
    assert refusal.value.field == "d"


@pytest.mark.parametrize("settings", [None, [], "x", 1, True, [["d", "x"]]])
def test_settings_that_are_no_object_are_refused(settings: object) -> None:
    with pytest.raises(InvalidInput, match="not an object") as refusal:
        check_settings(app(TWO), settings)
    assert refusal.value.field == "settings"


def test_input_files_are_named_as_the_storage_has_them() -> None:
    items = files("raw", convert=True, formats="raw;d") + files("own", shared=False, folder=True)
    settings = {"raw": [r"C:\x\a.raw", "//server/share/b.d"], "own": "/x/models/"}
    assert input_files(app(items), settings) == [
        InputFile("a.raw", shared=True, folder=False, convert=True, formats=("raw", "d"), parameter="raw"),
        InputFile("b.d", shared=True, folder=False, convert=True, formats=("raw", "d"), parameter="raw"),
        InputFile("models", shared=False, folder=True, convert=False, formats=(), parameter="own"),
    ]


@pytest.mark.parametrize(
    "decider",
    ["<when value='true'>", "<when value='^t' allow_regex='true'>"],
)
def test_files_within_a_branch_are_input_too(decider: str) -> None:
    items = f'<conditional name="c">{CHECKBOX}{decider}{files("f")}</when></conditional>'
    assert [file.name for file in input_files(app(items), {"d": True, "f": ["/x/a"]})] == ["a"]
    assert input_files(app(items), {"d": False, "f": ["/x/a"]}) == []


def test_one_file_for_two_parameters_is_one_input() -> None:
    items = files("f") + files("g")
    assert [file.parameter for file in input_files(app(items), {"f": ["/x/a"], "g": ["/x/a"]})] == ["f"]


@pytest.mark.parametrize(
    ("items", "settings"),
    [
        (files("f") + files("g", shared=False), {"f": ["/x/a"], "g": ["/x/a"]}),
        (files("f", convert=True) + files("g"), {"f": ["/x/a.raw"], "g": ["/x/a.mzML"]}),
        (files("f", convert=True), {"f": ["/x/a.raw", "/x/a.mgf"]}),
    ],
)
def test_two_files_cannot_have_one_name_for_the_app(items: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="would both be"):
        check_settings(app(items), settings)
    with pytest.raises(InvalidInput, match="would both be"):
        input_files(app(items), settings)


def test_answers_come_with_their_controls() -> None:
    given_answers = answers(app(TWO), {"d": "x", "a": "1"})
    assert [(answer.control.name, answer.value) for answer in given_answers] == [("d", "x"), ("a", "1")]


def refused_field(of: App, settings: dict[str, Any]) -> str | None:
    try:
        check_settings(of, settings)
    except InvalidInput as refusal:
        return refusal.field
    return None


everything = app(
    TWO + CHECKBOX.replace('"d"', '"k"') + NUMBER.replace('"d"', '"n"') + files("f", convert=True)
    + '<range name="r" label="R"/><keyvalues name="v" label="V" label_key="K" label_value="V" type_of="float"/>'
    + '<checklist name="l" label="L"><option value="o">O</option></checklist>',
    convert_config_to="json",
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["d", "a", "b", "k", "n", "f", "r-min", "r-max", "v", "l", "other"]), json_values))
def test_any_settings_are_accepted_or_refused_with_a_field(settings: dict[str, Any]) -> None:
    fields = {"d", "a", "b", "k", "n", "f", "r-min", "r-max", "v", "l"}
    assert refused_field(everything, json.loads(json.dumps(settings))) in {None, *fields}


FILES = '<filelist name="{0}" label="The {0}" multiple="{1}" is_folder="false" is_raw_input="{2}" convert_to_mzml="{3}"/>'
NFD = unicodedata.normalize("NFD", "größe.txt")


@pytest.mark.parametrize(
    ("paths", "which"),
    [
        (["C:/a/b.txt", "C:/b/b.txt"], "'C:/b/b.txt' and 'C:/a/b.txt'"),
        (["//server/one/b.txt", "/mnt/one/b.txt"], "'/mnt/one/b.txt' and '//server/one/b.txt'"),
        (["/a/größe.txt", f"/b/{NFD}"], "größe.txt"),
        (["/a/größe.txt", f"/a/{NFD}"], "größe.txt"),
        (["/a/b.txt", "%job_dir_0%/output/b.txt"], "'b.txt' and '/a/b.txt'"),
        (["%job_dir_0%/output/a/b.txt", "%job_dir_0%/output/b.txt"], "'b.txt' and 'b.txt'"),
    ],
)
@pytest.mark.parametrize("fields", [1, 2])
def test_two_files_of_one_name_are_refused_with_both_paths(paths: list[str], which: str, fields: int) -> None:
    known = app("".join(FILES.format(name, "true", "true", "false") for name in ("one", "two")))
    form = {"one": paths} if fields == 1 else {"one": paths[:1], "two": paths[1:]}
    with pytest.raises(InvalidInput, match="have the same name: rename one of them") as refused:
        check_settings(known, form)
    assert which in unicodedata.normalize("NFC", refused.value.message)
    assert refused.value.field == ("one" if fields == 1 else "two")


@pytest.mark.parametrize(
    "paths",
    [
        ["/a/b.txt", "/a/b.txt"],
        ["C:/a/b.txt", "C:\\a\\b.txt"],
        ["C:\\a\\b.txt", "c:\\a\\b.txt"],
        ["\\\\server\\share\\b.txt", "//server/share/b.txt"],
    ],
)
def test_a_path_that_is_given_twice_is_one_file(paths: list[str]) -> None:
    known = app(FILES.format("one", "true", "true", "false") + FILES.format("two", "false", "true", "false"))
    assert [file.name for file in input_files(known, {"one": paths, "two": paths[1:]})] == ["b.txt"]
    assert [len(answer.value) for answer in answers(known, {"one": paths})] == [1]
    assert [len(answer.value) for answer in answers(known, {"two": paths})] == [1]


def test_names_that_differ_in_case_are_two() -> None:
    known = app(FILES.format("one", "true", "true", "false"))
    assert len(input_files(known, {"one": ["/a/b.txt", "/b/B.txt"]})) == 2


def test_a_file_may_be_wanted_as_it_is_and_converted() -> None:
    known = app(FILES.format("one", "true", "true", "true") + FILES.format("two", "true", "true", "false"))
    assert [file.target for file in input_files(known, {"one": ["/a/b.raw"], "two": ["/a/b.raw"]})] == ["b.mzML", "b.raw"]
    with pytest.raises(InvalidInput, match="have the same name"):
        input_files(known, {"one": ["/a/b.raw"], "two": ["/b/b.raw"]})
