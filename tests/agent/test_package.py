"""The agent's own package: what `pip install ./agent` puts into an empty environment works there, without the controller."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from programs.version import VERSION
from server.settings import CHECKOUT
from tests.agent.sshd import free_port

pytestmark = pytest.mark.system
LIMIT_S = 50


@dataclass(frozen=True)
class Bare:
    """An environment with nothing but the agent, far from any checkout."""

    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in its folder."""
        path = self.folder / "bin" / command[0]
        return subprocess.run(
            [path, *command[1:]], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S
        )

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("CUMULUS_", "PYTHON", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    found = Bare(tmp_path_factory.mktemp("bare"))
    subprocess.run([sys.executable, "-m", "venv", found.folder], check=True, timeout=LIMIT_S)
    installed = found.run("pip", "install", "--no-compile", "--disable-pip-version-check", str(CHECKOUT / "agent"))
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return found


def test_it_brings_all_of_the_agent_and_nothing_of_the_controller(bare: Bare) -> None:
    asked = bare.run("python", "-c", "import agent, importlib.util as u; print(agent.__path__[0], u.find_spec('server'))")
    installed, _, server = asked.stdout.strip().partition(" ")
    assert (asked.returncode, server) == (0, "None"), asked.stderr
    packages = Path(installed).parent
    assert packages.is_relative_to(bare.folder)
    assert _files(packages / "agent") == _files(CHECKOUT / "agent") - {"hatch_build.py"}
    assert _files(packages / "programs") == _files(CHECKOUT / "programs")


def test_its_commands_work(bare: Bare) -> None:
    assert bare.run("cumulus-agent", "--version").stdout == f"cumulus-agent, version {VERSION}\n"
    looked = bare.run("cumulus-agent", "doctor")
    assert (looked.returncode, "LACK  target: no target is set" in looked.stdout) == (1, True), looked.stderr


def test_it_serves(bare: Bare) -> None:
    for name in ("data", "jobs"):
        (bare.folder / "storage" / name).mkdir(parents=True)
    settings = f"target = '{bare.folder}/storage'\nport = {free_port()}\nroots = [{{path = '{bare.folder}'}}]\n"
    (bare.folder / "cumulus-agent.toml").write_text(settings)
    command = [bare.folder / "bin" / "cumulus-agent", "serve"]
    with subprocess.Popen(command, cwd=bare.folder, env=bare.environment, stderr=subprocess.PIPE, text=True) as agent:
        try:
            assert _answers(bare), agent.poll()
        finally:
            agent.terminate()
            said = agent.communicate(timeout=LIMIT_S)[1]
    assert agent.returncode == 0, said
    assert "nothing waits" in bare.run("cumulus-agent", "queue").stdout


def _answers(bare: Bare) -> bool:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if bare.run("cumulus-agent", "status").returncode == 0:
            return True
        time.sleep(0.2)
    return False


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for kind in ("*.py", "*.html") for path in folder.rglob(kind)}
