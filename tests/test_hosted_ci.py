"""The files that hosts and editors read: they call what is there, and nothing of them needs a network of its own."""

import configparser
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import CHECKOUT

GITHUB, GITLAB = CHECKOUT / ".github" / "workflows" / "ci.yml", CHECKOUT / ".gitlab-ci.yml"
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
TARGETS = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def commands(path: Path) -> list[str]:
    jobs = read(path)
    if path == GITHUB:
        return [step["run"] for job in jobs["jobs"].values() for step in job["steps"] if "run" in step]
    return [line for job in jobs.values() if isinstance(job, dict) for line in job.get("script", [])]


def hooks() -> Iterator[dict[str, Any]]:
    for repository in read(CHECKOUT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        yield from repository["hooks"]


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_hosts_run_the_checks_and_the_whole_suite(path: Path) -> None:
    assert {"make check", ".ci/run"} <= set(commands(path))
    called = {target for command in commands(path) for target in re.findall(r"^make ([a-z-]+)", command)}
    assert called <= TARGETS
    assert os.access(CHECKOUT / ".ci" / "run", os.X_OK)


def test_github_tries_every_python_that_the_project_names() -> None:
    versions = read(GITHUB)["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert PYPROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert f"Python {versions[0]} to {versions[-1]}" in (CHECKOUT / "README.md").read_text()


def test_github_may_read_and_no_more() -> None:
    assert read(GITHUB)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("hook", list(hooks()), ids=lambda hook: hook["id"])
def test_hooks_use_what_the_checkout_has(hook: dict[str, Any]) -> None:
    program, *_ = shlex.split(hook["entry"])
    assert hook["language"] == "system"
    assert program.startswith(".venv/bin/")
    assert (Path(sys.prefix) / "bin" / Path(program).name).exists()


def test_editors_get_the_width_of_lines_that_the_linter_demands() -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string("[top]\n" + (CHECKOUT / ".editorconfig").read_text())
    assert int(parsed["*.py"]["max_line_length"]) == PYPROJECT["tool"]["ruff"]["line-length"]


def test_templates_of_both_hosts_say_the_same() -> None:
    assert (CHECKOUT / ".gitlab/merge_request_templates/Default.md").read_text() == (
        CHECKOUT / ".github/pull_request_template.md"
    ).read_text()
    for name in ("problem", "request"):
        ours = (CHECKOUT / f".github/ISSUE_TEMPLATE/{name}.md").read_text().split("---\n", 2)[2].strip()
        assert (CHECKOUT / f".gitlab/issue_templates/{name.title()}.md").read_text().strip() == ours
