"""Presets of workflows against the forms of their apps."""

from typing import Any

import pytest

from server.catalog.model import Workflow
from server.catalog.reading import read_workflow
from server.catalog.workflows import FilledStep, preset_values, unfit_presets
from server.catalog.xml import read_document
from server.errors import InvalidInput
from tests.catalog.building import ALL_SCHEMAS, app

FIRST = (
    '<select name="mode" label="M"><option value="a" selected="true"/><option value="b"/></select>'
    '<checkbox name="deep" label="D" value="false"/><number name="n" label="N" value="5" min="1" max="9"/>'
    '<range name="r.x" label="R"/><filelist name="in" label="I" multiple="true" is_folder="false" is_raw_input="true" '
    'convert_to_mzml="true"/><conditional name="c"><string name="s" label="S"/>'
    '<when value="1"><number name="twice" label="T" max="1"/></when><when value="2"><string name="twice" label="T"/></when>'
    "</conditional>"
)
SECOND = (
    '<filelist name="file" label="F" multiple="false" is_folder="false" is_raw_input="false" format="tsv"/>'
    '<number name="ppm" label="P"/><checklist name="some" label="S"><option value="x"/></checklist><range name="r" label="R"/>'
    '<filelist name="files" label="F" multiple="true" is_folder="false" is_raw_input="false" format="tsv"/>'
)
APPS = {"first_1": app(FIRST, id="first_1"), "second_1": app(SECOND, id="second_1")}
WORKFLOW = """\
<workflow id="w_1" name="W" version="1"><tool id="first_1">{}</tool>
<tool id="second_1">
{}</tool></workflow>"""


def workflow(first: str = "", second: str = "") -> Workflow:
    return read_workflow(read_document(WORKFLOW.format(first, second).encode(), ALL_SCHEMAS).root)


def found(first: str = "", second: str = "") -> list[tuple[int, str]]:
    return list(unfit_presets(workflow(first, second), APPS))


def param(name: str, value: str, **more: str) -> str:
    return f'<param name="{name}" value="{value}"{"".join(f" {key}={text!r}" for key, text in more.items())}/>'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mode", "b"), ("deep", "true"), ("deep", "false"), ("n", "9"), ("r.x", "1"), ("s", "any <b>".replace("<", "&lt;"))),
        *(("s", "%input_dir%"), ("n", "%nb_threads%"), ("twice", "text")),
    ],
)
def test_a_preset_that_a_form_takes_is_none_to_speak_of(name: str, value: str) -> None:
    assert found(param(name, value)) == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("mode", "c", "mode is 'c', not one of a, b"),
        ("deep", "yes", "deep is 'yes', not true or false"),
        ("n", "10", "n is 10, more than 9"),
        ("n", "ten", "n is 'ten', not a number"),
        ("c", "1", "the app has no parameter c"),
        ("r.x-min", "1", "the app has no parameter r.x-min"),
        ("s", "%job_dir_0%/output/a", "s takes results of step 0, which does not come before it"),
    ],
)
def test_a_preset_that_no_form_takes_is_named_with_step_and_line(name: str, value: str, reason: str) -> None:
    assert found(param(name, value)) == [(1, f"step 0, first_1: {reason}")]


def test_a_value_comes_from_a_parameter_or_the_results_of_a_step_before() -> None:
    assert found("", param("file", "%job_dir_0%/output/a.tsv", from_tool="0") + param("ppm", "r.x", from_tool="0")) == []
    assert found("", param("some", "x")) == []
    assert found("", "\n" + param("ppm", "r.y", from_tool="0")) == [
        (4, "step 1, second_1: step 0 has no parameter r.y, from which ppm gets its value")
    ]
    ((line, reason),) = found("", param("file", "%job_dir_0%/output/a.txt", from_tool="0"))
    assert (line, "which does not end with .tsv" in reason) == (3, True)
    ((_, reason),) = found("", param("file", "%job_dir_1%/output/a.tsv"))
    assert "results of step 1" in reason


RESULT = "%job_dir_0%/output/%in%.tsv"


def test_a_result_may_be_called_after_each_file_of_the_step_before() -> None:
    assert found("", param("files", RESULT, from_tool="0")) == []
    ((_, reason),) = found("", param("files", "%job_dir_0%/output/%out%.tsv", from_tool="0"))
    assert "files has %out%, which is no field of files of the step that from_tool says" in reason
    ((_, reason),) = found("", param("files", "%job_dir_0%/output/%n%.tsv", from_tool="0"))
    assert "%n%, which is no field of files" in reason
    ((_, reason),) = found("", param("files", RESULT))
    assert "%in%, which is no field of files" in reason
    ((_, reason),) = found("", param("files", "%job_dir_0%/output/%in%.txt", from_tool="0"))
    assert "does not end with .tsv" in reason


def values(preset: str, form: dict[str, Any]) -> dict[str, Any]:
    """What the second step gets from its preset where the first has this form."""
    return preset_values(workflow("", preset).steps[1].presets, APPS["second_1"], [FilledStep(APPS["first_1"], form)])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/Müller 50% & 'run'.mzML.gz", "Müller 50% & 'run'"),
        ("C:\\x\\a.b.RAW", "a.b"),
        ("/x/%in%.mgf", "%in%"),
        ("/x/my.data.mzML", "my.data"),
    ],
)
def test_it_is_the_name_that_the_app_got_without_its_last_ending(path: str, name: str) -> None:
    made = values(param("files", RESULT, from_tool="0"), {"in": [path]})
    assert made == {"files": [f"%job_dir_0%/output/{name}.tsv"]}


def test_there_is_a_result_for_each_file() -> None:
    made = values(param("files", RESULT, from_tool="0"), {"in": ["/x/a.mzML", "/x/b.mgf"]})
    assert made == {"files": ["%job_dir_0%/output/a.tsv", "%job_dir_0%/output/b.tsv"]}


@pytest.mark.parametrize(
    ("preset", "made"),
    [
        (param("ppm", "n", from_tool="0"), {"ppm": "7"}),
        (param("ppm", "twice", from_tool="0"), {}),
        (param("r", "r.x", from_tool="0"), {"r-min": "1", "r-max": "2"}),
        (param("file", "%job_dir_0%/output/a.tsv", from_tool="0"), {"file": ["%job_dir_0%/output/a.tsv"]}),
        (param("ppm", "3"), {"ppm": "3"}),
        (param("some", "x"), {"some": ["x"]}),
    ],
)
def test_a_preset_is_a_value_or_that_of_the_step_before(preset: str, made: dict[str, Any]) -> None:
    assert values(preset, {"n": "7", "r.x-min": "1", "r.x-max": "2"}) == made


def test_a_range_has_no_single_value() -> None:
    with pytest.raises(InvalidInput, match="R is a range"):
        values(param("r", "1"), {})
