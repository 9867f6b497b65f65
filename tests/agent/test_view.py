"""The agent's queue as a table: what is in it can be copied, however narrow the terminal is."""

import pytest

from tests.screen import run_python

PATH = "/instruments/lab/" + "/".join(f"folder-{number:02}" for number in range(12))
SCRIPT = f"""
from agent.queue.lines import Line
from agent.view import show
show([Line(7, "ada", "{PATH}/run.raw", "sending", 10**9, 10**9 // 2, "the target {PATH} does not answer")], as_json=False)
"""


@pytest.mark.parametrize("width", [40, 80, 400])
def test_no_path_is_broken(width: int) -> None:
    shown = run_python(SCRIPT, width)
    assert shown.code == 0, shown.raw
    assert f" {PATH}/run.raw " in shown.raw
    assert f"{PATH} " in shown.raw or f"{PATH}\r\n" in shown.raw
    assert not any(line.endswith(" ") for line in shown.raw.split("\r\n"))


def test_in_a_file_each_entry_is_one_line() -> None:
    shown = run_python(SCRIPT, 40, stdout_piped=True)
    assert f"the target {PATH} does not answer\n" in shown.piped
    assert len(shown.piped.splitlines()) == 2
    assert "\x1b" not in shown.piped
