"""What an app's XML says of its words and exit codes, and apps that take their files one by one."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalog.apps import Catalog
from server.catalog.findings import read_input_error, read_summary
from server.catalog.patterns import UnboundedPattern, read_search
from server.catalog.rendering.command import render, render_each
from server.catalog.values import input_files
from server.catalog.xml import BadXml
from tests.catalog.building import VARIABLES, app, tool

FILES = '<filelist name="f" label="F" multiple="true" is_folder="false" is_raw_input="true" {} repeated_command="--in %value%"/>'
PER_FILE = FILES.format('per_file="true"')
DATABASE = '<filelist name="d" label="D" multiple="false" is_folder="false" is_raw_input="true" command="--db %value%"/>'


@pytest.mark.parametrize(
    ("text", "codes", "pattern"),
    [
        ("", (), ""),
        ("65", (65,), ""),
        ("3, 4 65", (3, 4, 65), ""),
        ("^cannot read", (), "^cannot read"),
        ("65: ^cannot: read", (65,), "^cannot: read"),
        ("error 65", (), "error 65"),
        ("(?:)65:", (), "(?:)65:"),  # how a pattern that begins with digits is written
    ],
)
def test_an_input_error_is_exit_codes_a_pattern_or_both(text: str, codes: tuple[int, ...], pattern: str) -> None:
    assert read_input_error(text) == (codes, pattern)


@given(st.lists(st.integers(1, 255), min_size=1, max_size=9), st.sampled_from([" ", ", ", ","]), st.text("abc xyz", max_size=9))
def test_all_codes_and_the_pattern_are_read_back(codes: list[int], between: str, word: str) -> None:
    pattern = word.strip() and f"^{word.strip()}"
    text = between.join(map(str, codes)) + (f": {pattern}" if pattern else "")
    assert read_input_error(text) == (tuple(codes), pattern)


@given(st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}", fullmatch=True), min_size=1, max_size=6, unique=True))
def test_each_named_group_of_a_summary_is_a_figure(names: list[str]) -> None:
    assert read_summary("|".join(f"^{name}: (?P<{name}>[0-9]+)" for name in names)) == tuple(names)


@given(st.text(max_size=40))
def test_any_text_is_a_summary_or_refused_with_a_reason(text: str) -> None:
    refusal, names = "", ()
    try:
        names = read_summary(text)
    except (UnboundedPattern, ValueError) as problem:
        refusal = str(problem)
    assert refusal.startswith("summary ") or names or not text


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"input_error": "0"}, "0 is no exit code of a failure"),
        ({"input_error": "256"}, "256 is no exit code"),
        ({"input_error": "("}, "input_error is not a regular expression"),
        ({"input_error": "x*"}, "input_error is found in an empty line"),
        ({"summary": "[0-9]+"}, "summary has no named group"),
        ({"summary": "(?P<n>[0-9]*)"}, "summary is found in an empty line"),
        ({"summary": "((?P<n>a+))+$"}, "summary repeats a group"),
        ({"summary": "(?P<n>[0-9]+)", "warn_if_zero": "m"}, "warn_if_zero: m is no figure"),
        ({"warn_if_zero": "m"}, "warn_if_zero: m is no figure"),
        ({"summary_command": "echo %value%"}, "%value% means nothing here"),
        ({"end_tag": "(a+)+$"}, "end_tag repeats a group"),
        ({"stall_timeout_s": "-1"}, "stall_timeout_s"),
        ({"stall_timeout_s": "soon"}, "stall_timeout_s"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(attributes: dict[str, str], reason: str) -> None:
    with pytest.raises(BadXml, match=re.escape(reason)):
        app(**attributes)


def test_what_is_said_is_read() -> None:
    found = app(
        stall_timeout_s="30.5",
        input_error="65: ^bad",
        summary="(?P<valid_models>[0-9]+) models",
        summary_command="wc -l < %output_dir%/x",
        warn_if_zero="valid models, rows",
    )
    assert found.stall_timeout_s == 30.5
    assert (found.findings.input_error_codes, found.findings.input_error) == ((65,), "^bad")
    assert found.findings.warn_if_zero == ("valid models", "rows")
    assert found.findings.summary_command.fill(VARIABLES.texts) == "wc -l < '/job/output'/x"
    assert app().stall_timeout_s is None
    assert app(stall_timeout_s="0").stall_timeout_s == 0


HOPELESS = [
    "(a+)+$",
    "(a*)*b",
    r"(\w+\s*)+end",
    "((a+))+",
    "(?:x?a{1,}y?)*z",
    "(a+|b)+c",
    "(a{1,100}){5,}",
    "(b|(a+)+)$",
    "(?=(a+)+b)",
]


@pytest.mark.parametrize("pattern", HOPELESS)
def test_patterns_that_may_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(UnboundedPattern, match="may take for ever"):
        read_search(pattern, "end_tag")


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "Finished in \\d+ s",
        "All \\d+ files (?:of \\d+ )?done\\.?\\s*",
        ".*Finished.*",
        "(\\d+ )+files",
        "(?:.*\\n)*Done",
        "(ab)*c+",
        "(a{1,3})+",
        "x+y+z+",
        "((a|b)+,)*end",
        "\\[100%\\]",
    ],
)
def test_end_tags_as_people_write_them_stay_usable_and_quick(pattern: str) -> None:
    found = read_search(pattern, "end_tag")
    begin = time.process_time()
    found.search("Finished in 3 s, 100 files " * 20)
    assert time.process_time() - begin < 2


def test_each_file_has_a_run_of_its_own() -> None:
    made = app(PER_FILE + DATABASE)
    settings: dict[str, object] = {"f": ["/x/a.mzML", "/y/it's.mzML", "/x/a.mzML"], "d": "/x/db.fasta"}
    runs = render_each(made, settings, VARIABLES)
    assert [run.command for run in runs] == [
        "run --in '/job/input/a.mzML' --db '/job/input/db.fasta'",
        "run --in '/job/input/it'\\''s.mzML' --db '/job/input/db.fasta'",
    ]
    assert [run.file.target for run in runs if run.file] == ["a.mzML", "it's.mzML"]
    assert {file.name: file.alone for file in input_files(made, settings)} == {
        "a.mzML": True,
        "it's.mzML": True,
        "db.fasta": False,
    }


def test_each_run_has_a_config_file_of_its_own() -> None:
    made = app(PER_FILE, convert_config_to="json", command="run %config-file%")
    first, second = render_each(made, {"f": ["/x/a", "/x/b"]}, VARIABLES)
    assert (first.command, second.command) == (
        "run '/job/.cumulus.settings.1.json' --in '/job/input/a'",
        "run '/job/.cumulus.settings.2.json' --in '/job/input/b'",
    )
    assert (first.config, second.config) == (
        '{\n  "f": [\n    "/job/input/a"\n  ]\n}\n',
        '{\n  "f": [\n    "/job/input/b"\n  ]\n}\n',
    )


@pytest.mark.parametrize("settings", [{}, {"f": []}, {"f": ""}])
def test_without_a_file_an_app_runs_once(settings: dict[str, object]) -> None:
    assert render_each(app(PER_FILE), settings, VARIABLES) == []
    assert render(app(PER_FILE), settings, VARIABLES).command == "run"


def test_an_app_that_does_not_say_so_runs_once_for_all_files() -> None:
    made = app(FILES.format(""))
    assert render_each(made, {"f": ["/x/a", "/x/b"]}, VARIABLES) == []
    assert not any(file.alone for file in input_files(made, {"f": ["/x/a"]}))


def test_a_file_that_every_run_needs_is_not_left_out_alone() -> None:
    both = PER_FILE + DATABASE
    assert [file.alone for file in input_files(app(both), {"f": ["/x/a"], "d": "/x/a"})] == [False]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (PER_FILE + PER_FILE.replace('"f"', '"g"'), "two fields of files have per_file"),
        (PER_FILE.replace('multiple="true"', 'multiple="false"'), "per_file needs multiple"),
    ],
)
def test_file_by_file_goes_for_one_field_of_several_files(items: str, reason: str) -> None:
    with pytest.raises(BadXml, match=reason):
        app(items)


def test_the_client_gets_an_app_without_what_it_does_not_know(tmp_path: Path) -> None:
    ours = {"stall_timeout_s": "5", "input_error": "65", "summary": "(?P<n>1)", "summary_command": "x", "warn_if_zero": "n"}
    (tmp_path / "a.xml").write_text(
        tool(PER_FILE + FILES.format('help="per_file=&quot;true&quot; > x"').replace('"f"', '"g"'), **ours)
    )
    catalog = Catalog(tmp_path)
    assert catalog.problems() == []
    text = catalog.texts()["app_1"]
    assert not [name for name in ours if f" {name}=" in text]
    assert text.count(" per_file=") == 0
    assert 'help="per_file=&quot;true&quot; > x"' in text
    assert text.count("repeated_command=") == 2
