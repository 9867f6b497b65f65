"""What the documentation names exists, and what exists is documented."""

import re
from collections.abc import Iterator

import click
import pytest

from server.cli.apps import apps
from server.cli.main import main
from server.reasons import Reason
from server.settings import CHECKOUT, Settings

OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()
APPS = (CHECKOUT / "docs" / "apps.md").read_text()
USER = (CHECKOUT / "docs" / "user.md").read_text()
ACCOUNTS = (CHECKOUT / "docs" / "accounts.md").read_text()
PAGES = "".join(path.read_text() for path in sorted((CHECKOUT / "docs").glob("*.md")))
FOR_USERS = {
    *("apps", "batch", "cancel", "completion", "delete", "get", "jobs", "login", "logout", "logs", "preset", "queue", "record"),
    *("rerun", "retry", "show", "submit", "token", "workflow"),
}
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


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands that do something, with their names."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for part in command.list_commands(context):
            found = command.get_command(context, part)
            assert found is not None
            yield from leaves(found, f"{name} {part}".strip())
        if command.invoke_without_command:
            yield name, click.Command(name, params=command.params)
    else:
        yield name, command


COMMANDS = {name: command for name, command in leaves(main) if name}


def short_of(name: str) -> str:
    """A command as a list of a group's commands has it, such as ``batch list, show, cancel``: the last word alone."""
    group, _, last = name.rpartition(" ")
    return rf"\b{re.escape(name)}\b" if not group else rf"\b{re.escape(group)} (?:[a-z]+, )*{re.escape(last)}\b"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented_where_its_reader_looks(name: str) -> None:
    pages = USER + APPS if name.partition(" ")[0] in FOR_USERS else OPERATIONS + ACCOUNTS + APPS
    assert re.search(short_of(name), pages)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_documented(name: str) -> None:
    options = {one for parameter in COMMANDS[name].params for one in parameter.opts if one.startswith("--")}
    assert [one for one in sorted(options) if not re.search(rf"{one}\b(?!-)", PAGES)] == []


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
