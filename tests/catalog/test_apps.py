import os
from pathlib import Path

import pytest

from server.catalog.apps import Catalog
from server.errors import NotFound
from tests.catalog.building import tool
from tests.catalog.test_reading import WORKFLOW


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.xml").write_text("<!-- first -->\n" + tool(id="a_1", version_command="a --version"))
    (tmp_path / "b.xml").write_text(tool(id="b_1"))
    return tmp_path


def test_a_catalog_has_the_apps_of_its_folder(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / ".c.xml.swp.xml").write_text("x")
    (folder / "app.xsd").write_text("x")
    catalog = Catalog(folder)
    assert list(catalog.apps()) == ["a_1", "b_1"]
    assert catalog.get("b_1").id == "b_1"
    assert catalog.problems() == []
    assert catalog.version_commands() == [("a_1", "a --version")]
    assert all(text.startswith("<tool ") for text in catalog.texts().values())


@pytest.mark.parametrize("name", ["c_1", "", "A_1", "w_1", "../a", "x" * 10_000])
def test_an_app_that_is_not_there_is_not_found(folder: Path, name: str) -> None:
    (folder / "w.xml").write_text(WORKFLOW.format(0))
    with pytest.raises(NotFound) as refusal:
        Catalog(folder).get(name)
    assert refusal.value.field == "app"
    assert len(refusal.value.message) < 200


def test_a_broken_file_is_reported_and_hides_no_other(folder: Path) -> None:
    (folder / "broken.xml").write_text("<tool>\n<oops")
    (folder / "bad.xml").write_text(tool("<string/>", id="c_1"))
    (folder / "dead.xml").symlink_to(folder / "nowhere")
    (folder / "folder.xml").mkdir()
    catalog = Catalog(folder)
    assert list(catalog.apps()) == ["a_1", "b_1"]
    assert {(problem.file.name, problem.line) for problem in catalog.problems()} == {
        ("broken.xml", 2),
        ("bad.xml", 3),
        ("dead.xml", 0),
        ("folder.xml", 0),
    }
    assert any(str(problem).startswith(f"{folder / 'bad.xml'}:3: Element 'string'") for problem in catalog.problems())


def test_a_problem_is_told_once_when_it_is_found(folder: Path, clock: Clock) -> None:
    told: list[str] = []
    catalog = Catalog(folder, clock=clock, report=lambda problem: told.append(problem.file.name))
    catalog.apps()
    assert told == []
    (folder / "broken.xml").write_text("<tool>\n<oops")
    for _ in range(3):
        clock.now += 2
        catalog.apps()
    assert told == ["broken.xml"]
    (folder / "broken.xml").write_text("<tool>")
    clock.now += 2
    catalog.apps()
    assert told == ["broken.xml", "broken.xml"]


def test_two_files_with_one_id_are_reported_and_the_first_counts(folder: Path) -> None:
    (folder / "z.xml").write_text(tool(id="a_1", name="Other"))
    (folder / "w.xml").write_text(WORKFLOW.format(0).replace('"w_1"', '"b_1"'))
    catalog = Catalog(folder)
    assert catalog.get("a_1").name == "App"
    assert [(problem.file.name, problem.reason) for problem in catalog.problems()] == [
        ("w.xml", "the id b_1 is used by b.xml already"),
        ("z.xml", "the id a_1 is used by a.xml already"),
    ]


def test_workflows_count_if_their_apps_are_there(folder: Path) -> None:
    (folder / "0.xml").write_text(WORKFLOW.format(0))
    (folder / "1.xml").write_text(WORKFLOW.format(0).replace("w_1", "w_2").replace("b_1", "gone_1"))
    catalog = Catalog(folder)
    assert list(catalog.workflows()) == ["w_1"]
    assert catalog.texts()["w_1"].startswith("<workflow ")
    assert [(problem.file.name, problem.reason) for problem in catalog.problems()] == [
        ("1.xml", "the workflow uses apps that are not there: gone_1")
    ]


def test_changes_are_seen_within_a_second_and_not_sooner(folder: Path, clock: Clock) -> None:
    catalog = Catalog(folder, clock=clock)
    assert list(catalog.apps()) == ["a_1", "b_1"]
    (folder / "c.xml").write_text(tool(id="c_1"))
    (folder / "b.xml").unlink()
    clock.now += 0.9
    assert list(catalog.apps()) == ["a_1", "b_1"]
    clock.now += 0.1
    assert list(catalog.apps()) == ["a_1", "c_1"]
    (folder / "c.xml").write_text(tool(id="c_1", name="Changed"))
    (folder / "a.xml").write_text("<tool")
    clock.now += 1
    assert catalog.get("c_1").name == "Changed"
    assert list(catalog.apps()) == ["c_1"]
    assert [problem.file.name for problem in catalog.problems()] == ["a.xml"]
    (folder / "a.xml").write_text(tool(id="a_1"))
    clock.now += 1
    assert list(catalog.apps()) == ["a_1", "c_1"]
    assert catalog.problems() == []


def test_a_file_put_in_the_place_of_another_is_seen(folder: Path, clock: Clock) -> None:
    catalog = Catalog(folder, clock=clock)
    assert catalog.get("b_1").name == "App"
    before = (folder / "b.xml").stat()
    beside = folder / "b.new"
    beside.write_text(tool(id="b_1", name="New"))
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.rename(folder / "b.xml")
    clock.now += 1
    assert catalog.get("b_1").name == "New"


def test_files_that_did_not_change_are_not_read_again(folder: Path, clock: Clock) -> None:
    catalog = Catalog(folder, clock=clock)
    first = catalog.get("a_1")
    (folder / "c.xml").write_text(tool(id="c_1"))
    clock.now += 1
    assert catalog.get("a_1") is first


def test_a_clock_that_was_set_back_does_not_stop_it(folder: Path, clock: Clock) -> None:
    catalog = Catalog(folder, clock=clock)
    catalog.apps()
    (folder / "c.xml").write_text(tool(id="c_1"))
    clock.now -= 50
    assert "c_1" in catalog.apps()


def test_a_folder_that_is_gone_is_a_problem_and_no_crash(tmp_path: Path, clock: Clock) -> None:
    catalog = Catalog(tmp_path / "apps", clock=clock)
    assert catalog.apps() == {}
    assert "cannot be read" in str(catalog.problems()[0])
    (tmp_path / "apps").mkdir()
    clock.now += 1
    assert catalog.problems() == []
    (tmp_path / "apps" / "a.xml").write_text(tool(id="a_1"))
    clock.now += 1
    assert list(catalog.apps()) == ["a_1"]


def test_what_a_catalog_gives_away_is_not_its_own(folder: Path) -> None:
    catalog = Catalog(folder)
    catalog.apps().clear()
    catalog.texts().clear()
    catalog.problems().append("x")  # type: ignore[arg-type]
    assert list(catalog.apps()) == list(catalog.texts()) == ["a_1", "b_1"]
    assert catalog.problems() == []
