"""Commands of the template's build: their output is kept and heard, and they end with whoever started them."""

from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.qemu.images.chroot import run_logged


class Interrupted(Exception):
    """What a signal handler may raise anywhere."""


def test_each_line_is_heard_and_kept(tmp_path: Path) -> None:
    heard: list[str] = []
    run_logged(["sh", "-c", "echo one; echo two >&2"], tmp_path / "log", heard.append)
    assert heard == ["one", "two"]
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_failure_tells_the_last_line_whether_it_was_heard_or_not(tmp_path: Path) -> None:
    for hear in (None, lambda _: None):
        with pytest.raises(InfrastructureError, match=r"sh failed \(exit code 3\): why"):
            run_logged(["sh", "-c", "echo why; exit 3"], tmp_path / "log", hear)


def test_an_interruption_ends_the_command(tmp_path: Path) -> None:
    def interrupt(_line: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):  # returns at once, though the command would go on for an hour
        run_logged(["sh", "-c", f"echo $$ > {tmp_path}/pid; echo begun; exec sleep 3600"], tmp_path / "log", interrupt)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
