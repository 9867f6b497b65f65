"""From a name that somebody gave to a path, or a refusal."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import CumulusError, InvalidInput, NotFound
from server.storage.paths import base_name, inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "a folder").mkdir(parents=True)
    (folder / "a folder" / "ü 50%25.txt").write_text("x")
    (folder / ".cumulus.log").write_text("private")
    (tmp_path / "secret").write_text("secret")
    (folder / "way out").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


def test_a_file_under_the_root_is_found(root: Path) -> None:
    assert inside(root, "a folder/ü 50%25.txt").read_text() == "x"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "a folder/../../secret",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a//b",
        "x\0y",
        ".cumulus.log",
        "way out",
        "a" * 300,
        "b/" * 3000 + "c",
    ],
)
def test_what_leads_elsewhere_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        inside(root, name)


@pytest.mark.parametrize("name", ["absent", "a folder/absent", "loop"])
def test_what_is_not_there_is_not_found(root: Path, name: str) -> None:
    with pytest.raises(NotFound):
        inside(root, name)


@given(st.text(max_size=40))
def test_whatever_comes_in_stays_inside_or_is_an_expected_refusal(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("any")
    with contextlib.suppress(CumulusError):
        assert inside(root, name).is_relative_to(root.resolve())


@pytest.mark.parametrize("name", ["a/b", "..", "", ".cumulus.rc", "x\0"])
def test_a_base_name_is_one_plain_part(name: str) -> None:
    with pytest.raises(InvalidInput):
        base_name(name)
