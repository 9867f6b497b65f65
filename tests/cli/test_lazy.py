"""Asking ``cumulus`` for its version or its help loads none of its commands, and so takes no time."""

import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from server.cli.main import SECTIONS, main

HEAVY = ("peewee", "flask", "openstack", "python_terraform", "ansible", "pydantic", "structlog", "rich", "lxml", "httpx")
RUNS = 5
MOST_TIMES_PYTHON = 12.0  # about 5 on a quiet computer; with all commands it was 40


def seconds(*words: str) -> float:
    """The quickest of a few runs."""
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return min(taken)


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_nothing_heavy_is_imported_for_it(option: str) -> None:
    script = f"""
import sys
sys.argv = ["cumulus", {option!r}]
from server.entry import main
try:
    main()
except SystemExit as end:
    heavy = sorted(set({HEAVY!r}) & {{name.partition(".")[0] for name in sys.modules}})
    own = sorted(name for name in sys.modules if name.startswith(("server.app", "server.services", "server.workers")))
    sys.exit(f"{{end.code}} {{heavy}} {{own}}")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "0 [] []"


def test_the_version_comes_at_once() -> None:
    asked = seconds("-c", "import sys; sys.argv = ['cumulus', '--version']; from server.entry import main; main()")
    assert asked < MOST_TIMES_PYTHON * seconds("-c", "pass")


@pytest.mark.parametrize("name", list(main.commands))
def test_each_command_of_the_table_is_there_under_its_name(name: str) -> None:
    command = main.commands[name]
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


def test_the_help_names_every_command_in_a_line_that_fits_the_terminal() -> None:
    lines = CliRunner().invoke(main, ["--help"]).output.splitlines()
    assert max(map(len, lines)) <= 80
    for name, command in ((name, one) for section in SECTIONS.values() for name, one in section.items()):
        assert [line for line in lines if line.split() == [name, *command.help.split()]]
