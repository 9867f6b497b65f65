"""An installation with a real template, kept between runs because its build takes minutes."""

import os
from pathlib import Path

import pytest

from server.settings import CHECKOUT


@pytest.fixture(scope="session")
def vm_home() -> Path:
    """Home folder of the real-VM tests."""
    return CHECKOUT / "var" / "e2e"


@pytest.fixture
def vm_environment(vm_home: Path) -> dict[str, str]:
    """Environment for commands on that installation."""
    return {**os.environ, "CUMULUS_HOME": str(vm_home), "CUMULUS_CLOUD": "qemu", "COLUMNS": "160"}
