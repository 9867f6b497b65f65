"""Each control: what it adds to the command line and to the config file, and what it refuses."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalog.controls.numbers import parse_number
from server.catalog.values import check_settings
from server.errors import InvalidInput
from tests.catalog.building import app, command, rendered

SELECT = (
    '<select name="p" label="P" command="--own"><option value="a" command="-a">A</option><option value="b">B</option></select>'
)
CHECKLIST = (
    '<checklist name="p" label="P" command="--own"><option value="a" command="-a" selected="true">A</option>'
    '<option value="b" command="-b">B</option><option value="c">C</option></checklist>'
)
CHECKBOX = '<checkbox name="p" label="P" value="false" command="--yes" command_if_unchecked="--no"/>'
STRING = '<string name="p" label="P" command="--text %value%"/>'
NUMBER = '<number name="p" label="P" value="10" min="0" max="20" step="0.5" command="--n %value%"/>'
WHOLE = '<number name="p" label="P" command="--n %value%"/>'
RANGE = '<range name="p" label="P" min="-5" max="5" command="--from %value% --to %value2%"/>'
PAIRS = (
    '<keyvalues name="p" label="P" label_key="K" label_value="V" command="--pairs" type_of="{}" is_list="{}" '
    'repeated_command="--{{%key%}}=%value%"/>'
)
FILES = (
    '<filelist name="p" label="P" multiple="{}" is_folder="false" is_raw_input="true" convert_to_mzml="{}" format="{}" '
    'command="--first %value%" repeated_command="--f %value%"/>'
)
HIDDEN = '<string name="p" label="P" value="" visibility="hidden" command="--rep \'%input_dir%\'"/>'
TEXT_PAIRS, INT_LISTS, FLOATS = PAIRS.format("", "false"), PAIRS.format("int", "true"), PAIRS.format("float", "false")
ONE_FILE, ANY_FILES, SPECTRA = (
    FILES.format("false", "false", ""),
    FILES.format("true", "false", "txt;tar.gz"),
    FILES.format("true", "true", ""),
)
A_TXT, MY_MZML = "'/job/input/a.TXT'", "'/job/input/my.data.mzML'"
NOTE = '<text name="p" label="P" level="warning" command="--never"/>'
ALL = (SELECT, CHECKLIST, CHECKBOX, STRING, NUMBER, RANGE, TEXT_PAIRS, ONE_FILE, NOTE)


@pytest.mark.parametrize(
    ("item", "settings", "piece"),
    [
        (SELECT, {"p": "a"}, "--own -a"),
        (SELECT, {"p": "b"}, "--own"),
        (CHECKLIST, {"p": ["a", "b"]}, "-a -b"),
        (CHECKLIST, {"p": ["c"]}, ""),
        (CHECKLIST, {"p": []}, ""),
        (CHECKLIST, {"p": [["b", "B"], ["a"]]}, "-b -a"),
        (CHECKBOX, {"p": True}, "--yes"),
        (CHECKBOX, {"p": False}, "--no"),
        (STRING, {"p": "it's"}, "--text 'it'\\''s'"),
        (STRING, {"p": ""}, "--text ''"),
        (STRING.replace("<string", '<string allow_empty="false"'), {"p": ""}, "--text ''"),
        (HIDDEN, {"p": ""}, "--rep '/job/input'"),
        (NUMBER, {"p": "0.5"}, "--n '0.5'"),
        (NUMBER, {"p": "1e1"}, "--n '1e1'"),
        (NUMBER, {"p": 7}, "--n '7'"),
        (NUMBER, {"p": ""}, ""),
        (RANGE, {"p-min": "-5", "p-max": "3"}, "--from '-5' --to '3'"),
        (RANGE, {"p-min": "2", "p-max": "2"}, "--from '2' --to '2'"),
        (RANGE, {"p-min": "2", "p-max": ""}, ""),
        (RANGE, {"p-max": "2"}, ""),
        (TEXT_PAIRS, {"p": [["a b", "$x"], ["c", ""]]}, "--pairs --{'a b'}='$x' --{'c'}=''"),
        (INT_LISTS, {"p": [["M", ["1", 2]], ["C", ["3"]], ["D", []]]}, "--pairs --{'M'}='1' --{'M'}='2' --{'C'}='3'"),
        (FLOATS, {"p": [["M", "15.9949"], ["M", "31.99"]]}, "--pairs --{'M'}='15.9949' --{'M'}='31.99'"),
        (FLOATS, {"p": []}, ""),
        (FLOATS, {"p": ""}, ""),
        (ONE_FILE, {"p": r"C:\x\a b.txt"}, "--first '/job/input/a b.txt' --f '/job/input/a b.txt'"),
        (ONE_FILE, {"p": ["/x/a"]}, "--first '/job/input/a' --f '/job/input/a'"),
        (ONE_FILE, {"p": ""}, ""),
        (ANY_FILES, {"p": ["/x/a.TXT", "//s/b.tar.gz"]}, f"--first {A_TXT} --f {A_TXT} --f '/job/input/b.tar.gz'"),
        (ANY_FILES, {"p": []}, ""),
        (SPECTRA, {"p": ["/x/my.data.d", "/y/a.RAW"]}, f"--first {MY_MZML} --f {MY_MZML} --f '/job/input/a.mzML'"),
        (NOTE, {"p": "x"}, ""),
        *((item, {}, "") for item in ALL),
        *((item, {"p": None, "p-min": None, "p-max": None}, "") for item in ALL),
    ],
)
def test_a_value_adds_its_piece_to_the_command(item: str, settings: dict[str, Any], piece: str) -> None:
    assert command(item, settings) == piece


FRACTION = '<number name="p" label="P" step="0.1" value="1"/>'


@pytest.mark.parametrize(
    ("item", "settings", "config"),
    [
        (SELECT, {"p": "a"}, {"p": "a"}),
        (CHECKLIST, {"p": ["a", "c"]}, {"p": ["a", "c"]}),
        (CHECKBOX, {"p": False}, {"p": False}),
        (STRING, {"p": "x"}, {"p": "x"}),
        (STRING, {"p": ""}, {"p": ""}),
        (STRING.replace("<string", '<string allow_empty="true"'), {"p": ""}, {"p": ""}),
        (STRING.replace("<string", '<string allow_empty="false"'), {"p": ""}, {}),
        (STRING.replace("<string", '<string allow_empty="false"'), {"p": "x"}, {"p": "x"}),
        (STRING.replace("<string", '<string exclude_from_config="true"'), {"p": "x"}, {}),
        (STRING.replace("<string", '<string exclude_from_config="false"'), {"p": "x"}, {"p": "x"}),
        (WHOLE, {"p": "7"}, {"p": 7}),
        (WHOLE, {"p": "7.0"}, {"p": 7}),
        (WHOLE, {"p": "7.5"}, {"p": 7.5}),
        (WHOLE, {"p": ""}, {}),
        (FRACTION, {"p": "2"}, {"p": 2.0}),
        (FRACTION, {"p": "0.3"}, {"p": 0.3}),
        ('<number name="p" label="P" value="0.5"/>', {"p": "0.25"}, {"p": 0.25}),
        (RANGE, {"p-min": "-5", "p-max": "3"}, {"p": [-5, 3]}),
        (RANGE.replace("<range", '<range step="0.01"'), {"p-min": "-5", "p-max": "3"}, {"p": [-5.0, 3.0]}),
        (TEXT_PAIRS, {"p": [["a", "1"]]}, {"p": {"a": "1"}}),
        (FLOATS, {"p": [["a", "1"]]}, {"p": {"a": 1.0}}),
        (INT_LISTS, {"p": [["a", ["1", "2"]], ["a", ["3"]], ["b", []]]}, {"p": {"a": [1, 2, 3], "b": []}}),
        (ONE_FILE, {"p": "/x/a"}, {"p": "/job/input/a"}),
        (SPECTRA, {"p": ["/x/a.d"]}, {"p": ["/job/input/a.mzML"]}),
        (SPECTRA, {"p": []}, {}),
        (NOTE, {}, {}),
    ],
)
def test_a_value_stands_in_the_config_file_by_its_type(item: str, settings: dict[str, Any], config: object) -> None:
    text = rendered(item, settings, convert_config_to="json").config
    assert text is not None
    found = json.loads(text)
    assert found == config
    assert repr(found) == repr(config)


def test_an_integer_and_a_float_differ_in_the_config_file() -> None:
    assert '"p": 2.0' in (rendered(FRACTION, {"p": "2"}, convert_config_to="json").config or "")
    assert '"p": 7\n' in (rendered(WHOLE, {"p": "7.0"}, convert_config_to="json").config or "")


def each(item: str, reason: str, *values: object) -> list[tuple[str, dict[str, Any], str, str]]:
    """These values are refused by the parameter p for that reason."""
    return [(item, {"p": value}, "p", reason) for value in values]


def pairs(item: str, reason: str, *values: object) -> list[tuple[str, dict[str, Any], str, str]]:
    """These pairs are."""
    return each(item, reason, *([value] for value in values))


BAD = [
    *each(SELECT, "not one of a, b", "", "c", "A", 1, True, ["a"], {"a": 1}, "a\0"),
    *each(CHECKLIST, "not a list", "a", "", 1, True, {"a": True}),
    *each(CHECKLIST, "not one of", ["d"], ["a", "d"], [1], [None], [[]], [["d"]], [["a"], [[]]]),
    *each(CHECKBOX, "not true or false", "true", "false", "", 0, 1, [], {}, "on"),
    *each(STRING, "not a text", 1, 1.5, True, [], ["x"], {}),
    *each(STRING, "NUL", "a\0b", "\0"),
    *each(STRING, "surrogate", "\ud800", "x\udfffx"),
    *each(STRING, "longer than", "x" * 100_001, "é" * 50_001),
    *each(NUMBER, "not a number", " 1", "1 ", "+1", "1,5", "one", "0x10", "1_0", "1e", "--1", "1.2.3", "-", ".", "e5"),
    *each(NUMBER, "not a number", "inf", "nan", "NaN", "1e400", "1e1000", "1e-400", "1" * 41, "١", "1\n", "1;id", "$(id)"),
    *each(NUMBER, "not a number", True, False, [], ["1"], {}, float("nan"), float("inf"), 10**50),
    *each(NUMBER, "less than 0", "-1", "-0.5", -3, "-1e300"),
    *each(NUMBER, "more than 20", "20.5", "21", 1e300, "1e300"),
    (RANGE, {"p-min": "3", "p-max": "2"}, "p-min", "more than the greatest, which is 2"),
    (RANGE, {"p-min": "-6", "p-max": "2"}, "p-min", "less than -5"),
    (RANGE, {"p-min": "1", "p-max": "6"}, "p-max", "more than 5"),
    (RANGE, {"p-min": "x", "p-max": "2"}, "p-min", "not a number"),
    (RANGE, {"p-min": "1", "p-max": [2]}, "p-max", "not a number"),
    (RANGE, {"p-min": "6", "p-max": ""}, "p-min", "more than 5"),
    *each(TEXT_PAIRS, "not a list", "a=b", 1, True, {"a": "b"}),
    *pairs(TEXT_PAIRS, "not a pair", "ab", 1, None, {}, [], ["a"], ["a", "b", "c"]),
    *pairs(TEXT_PAIRS, "not a text", [1, "b"], ["a", 1], ["a", None], ["a", ["b"]], [["a"], "b"]),
    *pairs(TEXT_PAIRS, "without a key", ["", "b"]),
    *pairs(TEXT_PAIRS, "NUL", ["a\0", "b"], ["a", "b\0"]),
    *pairs(FLOATS, "not a number", ["a", ""], ["a", "x"], ["a", None], ["a", True], ["a", [1]], ["a", "1e999"]),
    *pairs(INT_LISTS, "not a list", ["a", "1"], ["a", 1], ["a", None]),
    *pairs(INT_LISTS, "not a whole number", ["a", ["1.5"]], ["a", [0.1]]),
    *pairs(INT_LISTS, "not a number", ["a", ["x"]]),
    *each(ONE_FILE, "not a list", 1, True, {"x": 1}),
    *each(ONE_FILE, "cannot be used", "/", "..", "C:\\..", "/x/.cumulus.cmd", "/x/a\nb", "/x/a\0", "\ud800", [""]),
    *each(ONE_FILE, "only one", ["/x/a", "/x/b"]),
    *each(ANY_FILES, "not a path", [1], [None], [["/x/a.txt"]], [{}]),
    *each(ANY_FILES, "does not end with .txt or .tar.gz", "/x/a.raw", "/x/txt", ["/x/a.gz"], ["/x/a.txt", "/x/a.txt.exe"]),
    *each(ANY_FILES, "more than 10000", ["/x/a.txt"] * 10_001),
    *each(SPECTRA, "would both be 'a.mzML'", ["/x/a.raw", "/y/a.mzML"]),
]


@pytest.mark.parametrize(("item", "settings", "field", "reason"), BAD)
def test_a_value_that_does_not_fit_is_refused_with_its_field(
    item: str, settings: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_settings(app(item), settings)
    assert refusal.value.field == field
    assert reason in refusal.value.message
    assert len(refusal.value.message) < 400


def test_a_key_twice_is_refused_only_where_it_would_be_lost() -> None:
    settings: dict[str, object] = {"p": [["M", "1"], ["M", "2"]]}
    check_settings(app(FLOATS), settings)
    with pytest.raises(InvalidInput, match="twice"):
        check_settings(app(FLOATS, convert_config_to="json"), settings)


@pytest.mark.parametrize(
    ("attributes", "good", "bad"),
    [
        ('min="1" step="5" value="20"', ("1", "2", "7.25", "1e2"), ("0", "0.99")),
        ('min="0.005" step="0.01" placeholder="0.0125"', ("0.005", "0.0125", "3"), ("0.00499",)),
        ('step="any"', ("0.1", "1e-30", "-5"), ("x",)),
        ('max="-1"', ("-1", "-20", "-1.5"), ("0", "-0.9")),
        ('value="1.0"', ("1", "0.25"), ()),
        ('step="0.1"', ("0.3", "0.35", "1e20", "-7.7"), ()),
        ('min="" max="" step="" value=""', ("1", "-1", "1.5", ""), ()),
    ],
)
def test_only_the_minimum_and_the_maximum_are_limits_as_the_client_sends_any_decimal(
    attributes: str, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    control = app(f'<number name="p" label="P" {attributes}/>')
    for value in good:
        check_settings(control, {"p": value})
    for value in bad:
        with pytest.raises(InvalidInput):
            check_settings(control, {"p": value})


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_a_decimal_keeps_its_value(number: Decimal) -> None:
    assert parse_number(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30))
def test_a_json_number_is_understood_or_too_small(number: float) -> None:
    found = parse_number(number)
    assert found == Decimal(str(number)) or (found is None and 0 < abs(number) < 1e-300) or abs(number) > 1e300
