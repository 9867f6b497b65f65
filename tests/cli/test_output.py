"""Tables of the commands: what is in them can be copied, however narrow the terminal is."""

import pytest

from server.cli.shared.following import WholeLines
from tests.screen import run_python

PATH = "/srv/lab/" + "/".join(f"folder-{number:02}" for number in range(12))
ROWS = f"""
from server.cli.shared.output import show_table
show_table(("id", "state", "message"), [("1", "failed", "no such file: {PATH} (" + "and so on " * 200 + ")"), ("2", "done", "")])
"""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_path_is_broken(width: int) -> None:
    shown = run_python(ROWS, width)
    assert any(f" {PATH}" in line for line in shown.screen.lines())
    assert f" {PATH} " in f"{shown.raw} ".replace("\r\n", " ")


@pytest.mark.parametrize("width", [40, 200])
def test_a_row_that_is_wider_than_the_terminal_makes_no_empty_lines(width: int) -> None:
    assert not any(line.endswith(" ") for line in run_python(ROWS, width).raw.split("\r\n"))


def test_with_room_words_fill_the_terminal_and_no_more() -> None:
    lines = run_python(ROWS, 200).screen.lines()
    assert len(lines) > 10
    assert 150 < max(map(len, lines)) <= 200


def test_in_a_file_each_row_is_one_line_however_long() -> None:
    lines = run_python(ROWS, 40, stdout_piped=True).piped.splitlines()
    assert len(lines) == 3
    assert "and so on " * 200 in lines[1]


def test_a_log_that_is_followed_is_said_in_whole_lines() -> None:
    said: list[str] = []
    lines = WholeLines(said.append)
    for piece in ("one", "\ntwo\n", "\n", "three"):
        lines.write(piece)
    assert said == ["one", "two", ""]
    lines.end()
    assert said == ["one", "two", "", "three"]
