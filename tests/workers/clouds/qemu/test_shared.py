"""The provider's process: one for all, another one when it died, ended with its owner."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.workers.clouds.qemu.provider.shared import SharedProvider
from tests.conftest import eventually
from tests.processes import has_ended


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SharedProvider]:
    made = SharedProvider(tmp_path, tmp_path / "provider.log")
    yield made
    made.stop()


def told(reattach: str) -> tuple[int, Path]:
    """Process and socket in the value for terraform."""
    (known,) = json.loads(reattach).values()
    return known["Pid"], Path(known["Addr"]["String"])


def test_all_terraforms_get_the_same_one_until_it_dies(provider: SharedProvider) -> None:
    first = provider.reattach()
    assert provider.reattach() == first
    pid, socket = told(first)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: told(provider.reattach())[0] != pid)
    assert not socket.parent.exists()


def test_it_ends_with_its_owner_and_leaves_no_socket(provider: SharedProvider) -> None:
    pid, socket = told(provider.reattach())
    provider.stop()
    provider.stop()
    eventually(lambda: has_ended(pid))
    eventually(lambda: not socket.parent.exists())


def test_one_that_is_at_work_is_not_waited_for_and_not_killed(provider: SharedProvider) -> None:
    pid, socket = told(provider.reattach())
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    provider.stop()
    assert time.monotonic() - began < 5
    assert socket.exists()
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: has_ended(pid))
    assert not socket.parent.exists()


def test_a_wrong_accelerator_is_one_line_to_a_plain_terraform_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.workers.clouds.qemu.serve", "plugin", "--home", str(tmp_path)]
    environment = {**os.environ, "CUMULUS_ACCELERATOR": "nonsense"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "CUMULUS_ACCELERATOR must be auto or kvm or tcg, not nonsense" in done.stderr
