"""What the agent's page names exists, and what exists is documented; what it needs is named."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from agent.cli import main
from agent.queue.states import FailureKind
from agent.settings import DEFAULT_FILE, Settings, load_settings
from server.settings import CHECKOUT

PAGE = (CHECKOUT / "docs" / "agent.md").read_text()
SCRIPTS = CHECKOUT / "scripts" / "agent"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_as_it_is(name: str) -> None:
    assert re.search(
        rf"^\| `{name}` \| .+ \| {re.escape(Settings.model_fields[name].description or '?')} \|$", PAGE, re.MULTILINE
    )


@pytest.mark.parametrize("trouble", list(FailureKind))
def test_every_trouble_is_documented(trouble: FailureKind) -> None:
    assert f"| {trouble.text} |" in PAGE


COME_ALONG = {"click", "werkzeug", "pydantic", "pydantic_core"}  # with flask and pydantic-settings
AT_BUILD = {"hatchling"}
MOST_DEPENDENCIES = 6


def test_every_command_is_documented() -> None:
    assert [name for name in main.commands if f"cumulus-agent {name}" not in PAGE] == []


def test_the_example_of_settings_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_FILE).write_text((SCRIPTS / "cumulus-agent.toml").read_text())
    assert [root.path for root in load_settings().roots] == ["/srv/instruments"]


def test_what_the_agent_imports_is_what_its_package_asks_for() -> None:
    asked = tomllib.loads((CHECKOUT / "agent" / "pyproject.toml").read_text())["project"]["dependencies"]
    named = {re.split(r"[>=]", line)[0].replace("-", "_") for line in asked}
    assert len(named) <= MOST_DEPENDENCIES
    imported: set[str] = set()
    for path in (*(CHECKOUT / "agent").rglob("*.py"), *(CHECKOUT / "programs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                imported |= {name.partition(".")[0] for name in names}
    assert imported - set(sys.stdlib_module_names) - {"agent", "programs", *COME_ALONG, *AT_BUILD} == named


def test_the_agent_runs_with_the_versions_that_the_controller_is_tested_with() -> None:
    locked = {*_locked("agent/requirements.lock")}
    assert locked <= {*_locked("requirements.lock")}
    named = {line.partition("==")[0] for line in locked}
    asked = tomllib.loads((CHECKOUT / "agent" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[>=]", line)[0] for line in asked} <= named


def _locked(name: str) -> list[str]:
    return re.findall(r"^\S+==\S+", (CHECKOUT / name).read_text(), re.MULTILINE)


def test_the_units_command_exists() -> None:
    unit = (SCRIPTS / "cumulus-agent.service").read_text()
    found = re.search(r"^ExecStart=\S+/cumulus-agent --config \S+ (\w+)$", unit, re.MULTILINE)
    assert found
    assert found[1] in main.commands


def test_the_windows_script_is_balanced_and_names_what_exists() -> None:
    """No PowerShell here to read it: at least its brackets and quotes match, and every function that is called is there."""
    text = re.sub(r"<#.*?#>", "", (SCRIPTS / "service.ps1").read_text(), flags=re.DOTALL)
    text = "\n".join(line.split(" # ")[0] for line in text.splitlines() if not line.lstrip().startswith("#"))
    for left, right in ("()", "{}", "[]"):
        assert text.count(left) == text.count(right)
    assert text.count("'") % 2 == 0
    defined = set(re.findall(r"^function ([\w-]+)", text, re.MULTILINE))
    assert {name for name in defined if len(re.findall(rf"\b{name}\b", text)) < 2} == set()
