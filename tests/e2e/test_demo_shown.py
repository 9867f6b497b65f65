"""What a person sees of the demonstration on a narrow terminal, and that what it says to do next works as it is printed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.home.running import running_controller
from tests.conftest import eventually
from tests.e2e.test_demo import DEMO, left_running
from tests.screen import on_terminal

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("comet-ms") is None, reason="comet-ms is not installed"),
    pytest.mark.timeout(240),
]
CUMULUS = str(Path(sys.executable).with_name("cumulus"))
WIDTH = 60


@contextmanager
def controller(home: Path, environment: dict[str, str]) -> Iterator[None]:
    """What `make run` starts."""
    child = subprocess.Popen([CUMULUS, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: running_controller(home) is not None)
        yield
    finally:
        child.terminate()
        child.wait(60)


def test_a_narrow_terminal_shows_each_line_once_and_commands_that_work_as_printed(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "some where"
    elsewhere.mkdir()
    own = {"CUMULUS_HOME": str(home), "CUMULUS_CLOUD": "local", "CUMULUS_PORT": "0"}
    shown = on_terminal(DEMO, WIDTH, own)
    lines = shown.screen.lines()
    assert shown.code == 0, lines
    phases = [phase[1] for line in lines if (phase := re.fullmatch(r" *[0-9]+\.[0-9] s  (.+)", line))]
    assert (phases[0], phases[-1]) == ("waiting for its files and a machine", "done")
    logged = [line for line in lines if line.startswith("[SERVER]")]
    assert len(logged) == len(set(logged)) > 5
    assert [line for line in lines if line.endswith("/output") and f"results: {home}/storage/jobs/Job_1_" in line]
    assert left_running(home) == []

    at = next(number for number, line in enumerate(lines) if line.startswith("Search your own file"))
    run, *commands = [line.strip() for line in lines[at:] if line.startswith("  ")]
    assert run.startswith("make -C ")
    environment = {**os.environ, **own}
    with controller(home, environment):
        script = "\n".join(commands)
        done = subprocess.run(
            ["bash", "-ec", script], cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert (elsewhere / "results" / "BSA1.txt").read_text().count("\n") > 100
