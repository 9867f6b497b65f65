"""How tests are shared among workers: who needs machines has a group, and groups stay whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from tests.order import GROUPS, group_of

MODULE = """
import os
import pytest

@pytest.mark.parametrize("number", range(9))
def test_one(number):
    with open(os.environ["SEEN"], "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_every_module_of_a_group_is_there() -> None:
    assert [name for name in GROUPS if not (CHECKOUT / name).is_file()] == []


def test_who_starts_machines_has_a_group() -> None:
    modules = [path for path in (CHECKOUT / "tests" / "e2e").glob("test_*.py") if "vm_home" in path.read_text()]
    assert modules
    assert {str(path.relative_to(CHECKOUT)) for path in modules} <= set(GROUPS)


@pytest.mark.parametrize(("name", "alone"), [("test_apps.py", True), ("test_other.py", False)])
def test_a_group_stays_on_one_worker(tmp_path: Path, name: str, alone: bool) -> None:
    module, seen = tmp_path / "tests" / "e2e" / name, tmp_path / "seen"
    module.parent.mkdir(parents=True)
    module.write_text(MODULE)
    (tmp_path / "conftest.py").write_text("from tests.order import *\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--import-mode=importlib", "-p", "no:cacheprovider", "."]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "SEEN": str(seen)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    workers = seen.read_text().split()
    assert len(workers) == 9
    assert (len(set(workers)) == 1) == alone


def test_a_test_of_no_group_is_alone() -> None:
    assert group_of("tests/test_order.py::test_a") == "tests/test_order.py::test_a"
    assert group_of("tests/e2e/test_apps.py::test_a") == group_of("tests/e2e/test_demo.py::test_b") == "controllers"
