"""What happens before a controller runs: other commands are waited for, and what they made is not made again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import ready
from scripts.lifetime import one_demo
from server.catalog.apps import Catalog
from server.errors import TemplateMissing
from server.progress import Lines
from server.settings import CHECKOUT

READY = ["env", "--default-signal", sys.executable, "-m", "scripts.ready"]


class Beside:
    """A cloud on which another command makes the snapshot while this one waits to build."""

    made = 0
    snapshot = False

    def problems(self) -> list[str]:
        return []

    @property
    def images(self) -> "Beside":
        return self

    def check(self) -> str:
        if not self.snapshot:
            raise TemplateMissing("there is none")
        return ""

    def template(self) -> "Beside":
        return self

    def build(self, *_: object, **__: object) -> None:
        self.snapshot = self.others

    def take_snapshot(self, *_: object) -> None:
        self.made += 1

    others = True


@pytest.mark.parametrize(("others", "made"), [(True, 0), (False, 1)])
def test_a_snapshot_that_another_command_made_meanwhile_will_do(others: bool, made: int) -> None:
    cloud: Any = Beside()
    cloud.others = others
    ready.ensure_snapshot(cloud, Catalog(CHECKOUT / "tests" / "apps"), Lines(print))
    assert cloud.made == made


def start(home: Path, cloud: str, *options: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "CUMULUS_HOME": str(home), "CUMULUS_CLOUD": cloud}
    return subprocess.Popen([*READY, *options], cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True)


def test_make_run_waits_for_a_demonstration_and_the_demonstration_not_for_itself(tmp_path: Path) -> None:
    with one_demo(tmp_path, print):
        waiting = start(tmp_path, "local")
        assert waiting.stderr is not None
        assert f"a demonstration runs here already (process {os.getpid()}, since " in waiting.stderr.readline()
        assert start(tmp_path, "local", "--demo").wait(30) == 0
        assert waiting.poll() is None
    assert waiting.wait(30) == 0
    waiting.stderr.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_waiting_can_be_ended(tmp_path: Path, number: int, code: int) -> None:
    with one_demo(tmp_path, print):
        waiting = start(tmp_path, "local")
        assert waiting.stderr is not None
        waiting.stderr.readline()
        waiting.send_signal(number)
        words = waiting.communicate(timeout=30)[1]
    assert waiting.returncode == code
    assert "Traceback" not in words


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    process = start(tmp_path, "nonsense")
    words = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert len(words.splitlines()) == 1
    assert "cloud" in words
