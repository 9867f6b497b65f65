"""Progress on a terminal: what is seen at any width, and what is left on the screen."""

import io
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.cli.shared.terminal import Terminal, live_line, progress_on
from server.progress import Counter, Lines
from tests.screen import Screen, run_python

WIDTHS = pytest.mark.parametrize("width", [40, 80, 200])
PATH = "/srv/lab/" + "/".join(f"folder-{number:02}" for number in range(20))
SCRIPT = """
import sys
from server.cli.shared.terminal import progress_on
progress = progress_on(sys.stderr)
def frame():
    if getattr(progress, "_live", None):
        progress._live.refresh()
"""
STEPS = f"""{SCRIPT}
progress.say("Note: {PATH}")
with progress.step("Copying the template's disk to snapshot 3", "MB") as step:
    for done in range(0, 801, 80):
        step.advance(done, 800)
        step.note("\\033[2J\\033[31mwriting cluster\\033[0m " + "x" * done)
        frame()
        if done == 400:
            progress.say("half of it")
with progress.step("Booting"):
    frame()
print("/the/result")
"""


def copying(done: float = 300) -> Counter:
    counter = Counter("Copying the template's disk to snapshot 3", "MB", 100.0, done, 800)
    counter.note("[  1.2] systemd[1]: Started ssh.service - OpenBSD Secure Shell server.")
    return counter


@WIDTHS
def test_a_live_line_fits_and_has_its_figures(width: int) -> None:
    line = live_line(copying(), 143.0, width - 1)
    assert line.cell_len < width
    assert "300 of 800" in line.plain
    assert "43 s" in line.plain


def test_with_room_a_live_line_says_all_and_has_a_bar() -> None:
    text = live_line(copying(), 143.0, 199).plain
    assert "Copying the template's disk to snapshot 3 ━" in text
    assert "300 of 800 MB, 43 s" in text
    assert text.endswith("OpenBSD Secure Shell server.")


def test_what_it_is_at_goes_before_a_longer_bar() -> None:
    counter = Counter("Trying the apps", "apps", 100.0, 2, 5)
    counter.note("featurefindercentroided_2.6.0")
    text = live_line(counter, 136.0, 79).plain
    assert text.endswith("  featurefindercentroided_2.6.0")
    assert text.count("━") + text.count("─") == 12


def test_a_bar_is_as_long_as_what_is_done() -> None:
    full, half = (live_line(copying(done), 100.0, 150).plain for done in (800, 400))
    assert full.count("━") == half.count("━") * 2 == half.count("━") + half.count("─")


@given(st.text(st.characters(exclude_categories=["C", "Z"])), st.text(), st.integers(12, 250), st.floats(0, 1e9))
def test_no_text_makes_a_live_line_too_long(text: str, note: str, width: int, done: float) -> None:
    counter = Counter(text, "packages", 0.0, done, 150)
    counter.note(note)
    assert live_line(counter, 1e6, width).cell_len <= width


def test_where_only_ascii_can_be_shown_a_live_line_is_ascii() -> None:
    assert live_line(copying(), 143.0, 60, ascii_only=True).plain.isascii()


@WIDTHS
def test_what_stays_on_a_terminal_is_a_line_for_each_step_and_no_path_is_broken(width: int) -> None:
    shown = run_python(STEPS, width)
    assert shown.screen.lines() == [
        f"Note: {PATH}",
        "half of it",
        "Copying the template's disk to snapshot 3: 0 s (800 MB)",
        "Booting: 0 s",
        "/the/result",
    ]
    assert "400 of 800" in shown.raw
    assert f"{PATH}\r\n" in shown.raw


def test_the_cursor_is_never_hidden_since_a_killed_program_could_not_bring_it_back() -> None:
    script = (
        f"{SCRIPT}\nimport os, signal\nwith progress.step('Booting'):\n    frame()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    shown = run_python(script, 80)
    assert "Booting" in shown.raw
    assert "\x1b[?25l" not in shown.raw
    assert shown.screen.cursor


def test_ctrl_c_leaves_one_plain_line_of_the_step() -> None:
    script = f"{SCRIPT}\nimport signal\nwith progress.step('Booting'):\n    signal.raise_signal(signal.SIGINT)\n"
    shown = run_python(script, 80)
    assert shown.screen.lines()[0] == "Booting: given up after 0 s"
    assert shown.screen.lines()[-1] == "KeyboardInterrupt"
    assert shown.code == -2


def test_a_terminal_that_gets_narrower_shows_the_next_lines_whole() -> None:
    narrower = "import fcntl, struct, termios; fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 40, 0, 0))"
    lines = ("step.note('n' * 70)", "frame()", narrower, "frame()", "frame()")
    script = f"{SCRIPT}\nwith progress.step('Booting a machine of snapshot 3 as small') as step:\n"
    script += "".join(f"    {line}\n" for line in lines)
    _, wide, after = run_python(f"{script}progress.say('{PATH}')\n", 120).raw.rpartition("n" * 60)
    assert wide
    narrow = after.split("\x1b[2K", 1)[1]
    assert Screen(40).feed(f"\x1b[2K{narrow}").lines() == ["Booting a machine of snapshot 3 as small: 0 s", PATH]


def test_steps_beside_each_other_have_a_line_each() -> None:
    script = f"{SCRIPT}\nwith progress.step('Booting'), progress.step('Packing'):\n    frame()\n    progress.say('between')\n"
    shown = run_python(script, 80)
    assert re.search(r"Booting\S* 0 s\r\n\S+ Packing\S* 0 s", re.sub(r"\x1b\[[0-9;]*m", "", shown.raw))
    assert shown.screen.lines() == ["between", "Packing: 0 s", "Booting: 0 s"]


def test_what_a_program_reads_is_not_mixed_with_what_a_person_sees() -> None:
    shown = run_python(STEPS, 80, stdout_piped=True)
    assert shown.piped == "/the/result\n"
    assert "/the/result" not in shown.raw


def test_a_log_line_beside_a_step_does_not_stay_in_its_line() -> None:
    script = f"{SCRIPT}\nwith progress.step('Booting'):\n    print('a warning', file=sys.stderr)\n    frame()\n"
    assert run_python(script, 80).screen.lines() == ["a warning", "Booting: 0 s"]


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_go_back_gets_plain_lines(term: str) -> None:
    shown = run_python(STEPS, 80, {"TERM": term})
    assert "\x1b" not in shown.raw
    assert "Copying the template's disk to snapshot 3 …\r\n" in shown.raw


def test_where_most_steps_are_short_no_line_stays_of_them() -> None:
    script = (
        "import sys\nfrom server.cli.shared.terminal import progress_on\nprogress = progress_on(sys.stderr, patience_s=3.0)\n"
    )
    script += "with progress.step('Sending'):\n    progress._live.refresh()\nprint('7')\n"
    shown = run_python(script, 80)
    assert "Sending" in shown.raw
    assert shown.screen.lines() == ["7"]


def test_no_color_means_none() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert colour.search(run_python(STEPS, 200).raw)
    assert not colour.search(run_python(STEPS, 200, {"NO_COLOR": "1"}).raw)


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    progress = progress_on(stream, {"TERM": "xterm"})
    assert isinstance(progress, Lines)
    with progress.step("Booting", "MB") as step:
        step.advance(3)
    assert stream.getvalue() == "Booting …\nBooting: 0 s (3 MB)\n"


def test_a_terminal_gets_live_lines() -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as stream:
        assert isinstance(progress_on(stream, {"TERM": "xterm"}), Terminal)
    os.close(master)
