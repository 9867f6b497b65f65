"""Words that the project no longer uses are found where they stand, and the list of what is left of them only becomes shorter."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import words
from server.settings import CHECKOUT

RULES = words.read_rules((CHECKOUT / words.WORDS).read_text())


def found(path: str, source: str) -> list[tuple[int, str]]:
    return [(one.line, one.rule.title) for one in words.find(path, source, RULES)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project with the real list of words, and one old word in its baseline."""
    for name in ("server", "scripts", "docs"):
        (tmp_path / name).mkdir()
    shutil.copy(CHECKOUT / words.WORDS, tmp_path / words.WORDS)
    (tmp_path / "server" / "old.py").write_text("spared = 1\n")
    (tmp_path / "docs" / "page.md").write_text("It says so.\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert words.main("--renew", root=tmp_path) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("def wish() -> None: ...", "name:wish"),
        ("class LastEndings: ...", "name:endings"),
        ("def ask(tried_orders: int) -> None: ...", "name:orders"),
        ("self.troubles = 1", "name:troubles"),
        ("for pulse in (): ...", "name:pulse"),
        ("class Commits: ...", "class:Commits"),
        ("# Nothing is to be done.", "prose:nothing is to be done"),
        ('"""Whose matter it is."""', "prose:whose matter"),
        ('print(f"{1} was told")', "prose:(un)?told"),
    ],
)
def test_a_planted_word_is_found(source: str, title: str) -> None:
    assert (2, title) in found("server/engine/planted.py", f"import os\n{source}\n")


def test_the_name_of_a_module_counts() -> None:
    assert found("server/engine/endings.py", "") == [(1, "name:endings")]
    assert found("server/workers/calls.py", "") == [(1, "module:calls")]
    assert found("server/former/__init__.py", "") == [(1, "module:former")]
    assert found("server/cli/import_former.py", "") == []


@pytest.mark.parametrize(
    "source", ["ORDER = 1", "recorders = 1", "print(other.pulse)", 'text = "ORDER BY id"', "# Cattle and gold"]
)
def test_parts_of_other_words_and_names_of_others_are_none(source: str) -> None:
    assert found("server/engine/planted.py", source) == []


def test_code_in_a_page_is_not_prose() -> None:
    assert found("docs/page.md", "It `goes`.\n```\nit goes\n```\nIt goes.\n") == [(5, "prose:goes")]


def test_a_word_may_stay_where_the_list_says_so() -> None:
    assert found("server/db/models.py", "spared = 1") == []
    assert found("server/engine/loop.py", "spared = 1") == [(1, "name:spared")]


def test_a_new_word_fails_and_is_named_with_its_replacement(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words.main(root=checkout) == 0
    (checkout / "docs" / "page.md").write_text("It says so.\nNothing is to be done.\n")
    assert words.main(root=checkout) == 1
    assert (
        "docs/page.md:2: 'Nothing is to be done.': instead of 'nothing is to be done': No action needed"
        in capsys.readouterr().out
    )


def test_the_baseline_follows_what_was_renamed_and_what_moved_and_never_grows(checkout: Path) -> None:
    baseline = checkout / words.BASELINE
    (checkout / "server" / "old.py").write_text("spared = 1\nspared = 2\n")
    assert words.main(root=checkout) == 1
    assert words.main("--renew", root=checkout) == 1
    (checkout / "server" / "old.py").rename(checkout / "server" / "new.py")
    (checkout / "server" / "new.py").write_text("spared = 1\n")
    assert words.main(root=checkout) == 1
    assert words.main("--renew", root=checkout) == 0
    assert "server/new.py" in baseline.read_text()
    (checkout / "server" / "new.py").write_text("uncounted = 1\n")
    assert words.main(root=checkout) == 1  # until the list is shorter, too
    assert words.main("--renew", root=checkout) == 0
    assert words.main(root=checkout) == 0
    assert "new.py" not in baseline.read_text()


def test_each_rule_says_what_to_write_and_why() -> None:
    assert all(rule.kind in ("name", "module", "class", "prose") and rule.new and rule.why for rule in RULES)
    assert len({rule.title for rule in RULES}) == len(RULES)
