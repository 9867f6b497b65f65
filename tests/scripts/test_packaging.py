"""The controller is built in its checkout, or not at all: real builds by pip in an empty environment."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from programs.version import VERSION
from server.settings import CHECKOUT

pytestmark = pytest.mark.system
LIMIT_S = 50
NEEDED = ("server", "agent", "programs", "cumulus_client", "scripts", "pyproject.toml", "README.md")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=LIMIT_S)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since a build in place leaves its notes."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in NEEDED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, folder)
    return folder


def pip(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [bare / "bin" / "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env={**os.environ, "COLUMNS": "200"})


@pytest.mark.parametrize("command", [("wheel", "--wheel-dir", "{}/wheels"), ("install",)])
def test_a_wheel_is_refused_in_one_line(bare: Path, checkout: Path, command: tuple[str, ...]) -> None:
    done = pip(bare, *(word.format(bare) for word in command), "--no-deps", str(checkout))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "runs from its checkout: run scripts/setup.sh run there, or pip install -e ." in said
    assert "[1 lines of output]" in said
    assert "Traceback" not in said
    assert list(bare.rglob("cumulus*.whl")) == []


def test_in_place_it_has_both_commands(bare: Path, checkout: Path) -> None:
    done = pip(bare, "install", "--no-deps", "-e", str(checkout))
    assert done.returncode == 0, done.stdout + done.stderr
    [packages] = bare.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))  # what it depends on
    environment = {"PATH": os.environ["PATH"], "HOME": str(bare)}
    for name in ("cumulus", "cumulus-agent"):
        command = [bare / "bin" / name, "--version"]
        shown = subprocess.run(command, cwd=bare, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        assert shown.stdout == f"{name}, version {VERSION}\n", shown.stderr
    where = [bare / "bin" / "python", "-c", "from server.settings import CHECKOUT; print(CHECKOUT)"]
    shown = subprocess.run(where, cwd=bare, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert shown.stdout == f"{checkout}\n", shown.stderr
