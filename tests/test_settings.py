"""Settings that are more than a number."""

from pathlib import Path

import pytest

from server.errors import InvalidInput
from server.settings import load_settings

GOOD = (
    '[[converters]]\nname = "ThermoRawFileParser-1.4.5"\npath = "/srv/a.zip"\nprogram = "bin/ThermoRawFileParser"\n'
    f'command = "ThermoRawFileParser"\nsha256 = "{"0" * 64}"\n'
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["home", "apps", "flavors"])
def test_an_empty_path_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CUMULUS_{name.upper()}", "")
    with pytest.raises(InvalidInput, match="must not be empty"):
        load_settings()


def test_a_converter_is_read_from_the_file() -> None:
    Path("cumulus.toml").write_text(GOOD)
    (found,) = load_settings().converters
    assert (found.path, found.url, found.program) == (Path("/srv/a.zip"), None, "bin/ThermoRawFileParser")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('path = "/srv/a.zip"', ""),
        ('path = "/srv/a.zip"', 'path = "a.zip"'),
        ('path = "/srv/a.zip"', 'path = "/srv/a.zip"\nurl = "https://x.example/a.zip"'),
        ('path = "/srv/a.zip"', 'url = "file:///etc/passwd"'),
        ("0" * 64, "0" * 63),
        ('name = "', 'name = "../'),
        ('program = "', 'program = "/'),
        ('command = "', 'command = "-'),
        ('command = "', 'colour = "blue"\ncommand = "'),
    ],
)
def test_a_converter_that_makes_no_sense_is_refused_by_name(old: str, new: str) -> None:
    assert old in GOOD
    Path("cumulus.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert (caught.value.field or "").startswith("setting converters.0")


def test_an_unknown_setting_is_refused() -> None:
    Path("cumulus.toml").write_text('colour = "blue"\n')
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert caught.value.field == "setting colour"


def test_only_variables_of_the_templates_roles_are_taken(tmp_path: Path) -> None:
    given = load_settings(home=tmp_path, template_variables={"apps_packages": ["comet-ms"]})
    assert given.template_variables == {"apps_packages": ["comet-ms"]}
    with pytest.raises(InvalidInput, match="no role of the template has a variable ansible_host") as refused:
        load_settings(home=tmp_path, template_variables={"ansible_host": "elsewhere"})
    assert refused.value.field == "setting template_variables"
