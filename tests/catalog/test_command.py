import json
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from server.catalog.apps import Catalog
from server.catalog.rendering.command import Variables, render
from server.errors import InvalidInput
from tests.catalog.building import app, rendered

TEXT = '<string name="a.b.c" label="L" command="--text %value%"/>'


def test_variables_stand_for_places_and_threads() -> None:
    text = rendered(
        '<string name="x" label="X" command="--in %input_dir% --x \'%value%\'"/>',
        {"x": "%input_dir% %nb_threads% %value%"},
        command="run -t %nb_threads% -o '%output_dir%/r' -c %config-file%",
        convert_config_to="yaml",
    ).command
    assert text == (
        "run -t 3 -o '/job/output''/r' -c '/job/.cumulus.settings.yaml' --in '/job/input' --x '%input_dir% %nb_threads% %value%'"
    )


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=30))
def test_folders_of_any_name_arrive_as_they_are(name: str) -> None:
    variables = Variables(1, f"/x/{name}/in", f"/x/{name}/out", f"/x/{name}/c")
    text = render(
        app(command="/usr/bin/printf '%s\\0' %input_dir% \"%output_dir%/a\"'%config-file%'", convert_config_to="json"),
        {},
        variables,
    )
    done = subprocess.run(["sh", "-c", text.command], capture_output=True, check=True)
    assert done.stdout.decode().split("\0") == [f"/x/{name}/in", f"/x/{name}/out/a/x/{name}/c.json", ""]


def test_an_app_without_a_config_file_has_none() -> None:
    result = rendered(TEXT, {"a.b.c": "x"})
    assert (result.config, result.config_format, result.config_name) == (None, None, None)


@pytest.mark.parametrize("config_format", ["json", "yaml"])
def test_dots_in_names_nest_the_config_file(config_format: str) -> None:
    items = (
        TEXT
        + '<number name="a.b.n" label="N" step="0.1"/><checkbox name="a.flag" label="F" value="true"/>'
        + '<string name="a.empty._" label="" value=""/><string name="top" label="T"/><string name="gone" label="G"/>'
    )
    values = {"a.b.c": "x", "a.b.n": "1", "a.flag": True, "a.empty._": "dropped", "top": "é: 'y'\n"}
    result = rendered(items, values, convert_config_to=config_format)
    assert result.config is not None
    assert result.config_name == f".cumulus.settings.{config_format}"
    read = json.loads(result.config) if config_format == "json" else yaml.safe_load(result.config)
    assert read == {"a": {"b": {"c": "x", "n": 1.0}, "flag": True, "empty": {}}, "top": "é: 'y'\n"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("%nb_threads%", 3),
        ("x%nb_threads%", "x3"),
        ("%output_dir%/r", "/job/output/r"),
        ("%input_dir%%input_dir%", "/job/input/job/input"),
        ("%config-file%", "/job/.cumulus.settings.json"),
        ("%value% %other%", "%value% %other%"),
    ],
)
def test_variables_in_values_count_in_the_config_file_only(value: str, found: object) -> None:
    result = rendered('<string name="x" label="X"/>', {"x": value}, convert_config_to="json")
    assert json.loads(result.config or "") == {"x": found}


def test_variables_are_put_in_once() -> None:
    variables = Variables(3, "/%output_dir%", "/out", "/c")
    result = render(app('<string name="x" label="X"/>', convert_config_to="json"), {"x": "%input_dir%"}, variables)
    assert json.loads(result.config or "") == {"x": "/%output_dir%"}


def test_a_file_whose_name_looks_like_a_variable_keeps_it() -> None:
    items = '<filelist name="f" label="F" multiple="true" is_folder="false" is_raw_input="true" command="%value%"/>'
    result = rendered(items, {"f": "/x/%output_dir%.txt"}, convert_config_to="json")
    assert json.loads(result.config or "") == {"f": ["/job/input/%output_dir%.txt"]}
    assert "'/job/input/%output_dir%.txt'" in result.command


@pytest.mark.parametrize(
    "text", ["yes", "1e5", "1.5", "null", "~", "- a", "{a: b}", "#x", "a: b", "", " ", "0o7", "é\n\tb", "'", '"']
)
def test_a_text_stays_a_text_in_yaml(text: str) -> None:
    result = rendered('<string name="x" label="X"/>', {"x": text}, convert_config_to="yaml")
    assert yaml.safe_load(result.config or "") == {"x": text}
    assert result.config.startswith('"x": "')  # type: ignore[union-attr]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0%")), st.sampled_from(["json", "yaml"]))
def test_any_text_comes_back_from_the_config_file(text: str, config_format: str) -> None:
    result = rendered('<string name="x" label="X"/>', {"x": text}, convert_config_to=config_format)
    read = json.loads if config_format == "json" else yaml.safe_load
    assert read(result.config or "") == {"x": text}


@pytest.mark.parametrize("names", [("a", "a.b"), ("a.b", "a"), ("a.b.c", "a.b"), ("a._", "a"), ("a", "a._")])
def test_names_that_contradict_each_other_are_refused(names: tuple[str, str]) -> None:
    items = "".join(f'<string name="{name}" label="L"/>' for name in names)
    with pytest.raises(InvalidInput, match="cannot be in the config file") as refusal:
        rendered(items, {names[0]: "1", names[1]: "2"}, convert_config_to="json")
    assert refusal.value.field == names[1]


def test_bad_settings_are_not_rendered() -> None:
    with pytest.raises(InvalidInput) as refusal:
        rendered('<number name="n" label="N" command="%value%"/>', {"n": "1; id"})
    assert refusal.value.field == "n"


def test_files_that_would_hide_each_other_are_not_rendered() -> None:
    items = '<filelist name="f" label="F" multiple="true" is_folder="false" is_raw_input="true" convert_to_mzml="true"/>'
    with pytest.raises(InvalidInput, match=r"would both be 'a\.mzML'"):
        rendered(items, {"f": ["/x/a.raw", "/x/a.mgf"]})


def test_the_test_app_runs(tmp_path: Path) -> None:
    probe = Catalog(Path(__file__).parent.parent / "apps").get("probe_1.0")
    places = {name: tmp_path / name for name in ("in put", "out'put")}
    for place in places.values():
        place.mkdir()
    (tmp_path / "in put" / "x y.raw").write_text("12345")
    values: dict[str, object] = {"text": "$(id) 'x'", "inputs": [r"C:\data\x y.raw"], "seconds": "0", "outcome": "ok"}
    variables = Variables(1, str(tmp_path / "in put"), str(tmp_path / "out'put"), str(tmp_path / "c"))
    done = subprocess.run(["sh", "-c", render(probe, values, variables).command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["probe started", "probe done"]
    assert (tmp_path / "out'put" / "result.txt").read_text() == "$(id) 'x'\n5\n"
    failed = subprocess.run(["sh", "-c", render(probe, {**values, "outcome": "fail"}, variables).command], capture_output=True)
    assert failed.returncode == 3
