"""What the documentation names exists, and what exists is documented."""

import re

import pytest

from server.cli.apps import apps
from server.cli.main import main
from server.reasons import Reason
from server.settings import CHECKOUT, Settings

OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()
APPS = (CHECKOUT / "docs" / "apps.md").read_text()
README = (CHECKOUT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in OPERATIONS


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_a_failure_is_documented_as_it_is(reason: Reason) -> None:
    again = "waits" if reason.waits else "yes" if reason.retryable else "no"
    assert f"| `{reason}` | {reason.blame} | {again} | {reason.text} | {reason.advice} |" in OPERATIONS


def test_no_reason_is_documented_that_does_not_exist() -> None:
    table = OPERATIONS.partition("## What failures mean")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == set(Reason)


def test_every_command_is_documented() -> None:
    text = OPERATIONS + README
    assert [name for name in main.commands if name not in text] == []


def test_every_command_about_apps_is_documented() -> None:
    text = OPERATIONS + APPS
    assert [name for name in apps.commands if f"cumulus apps {name}" not in text] == []


def test_every_make_target_that_is_documented_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    documents = [README, *(path.read_text() for path in (CHECKOUT / "docs").glob("*.md"))]
    named = {target for text in documents for target in re.findall(r"`make ([a-z-]+)", text)}
    assert named <= targets


def test_links_lead_somewhere() -> None:
    for path in (CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_the_two_commands_stand_at_the_top_of_the_readme() -> None:
    top = README.splitlines()[:6]
    assert any("make demo" in line for line in top)
    assert any("make test" in line for line in top)


def test_no_text_of_the_project_names_a_path_of_some_computer() -> None:
    for path in (*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "server").rglob("*.py")):
        assert str(CHECKOUT) not in path.read_text(), path
