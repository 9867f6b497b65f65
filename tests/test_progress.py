"""Progress as plain lines, and what is common to all that tell it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.progress import MB, Counter, Lines, duration, growing, last_line, plain, repeating


@dataclass
class Stage:
    """Lines that were written, a clock that a test sets, and what is to be called now and then."""

    told: list[str] = field(default_factory=list)
    now: float = 100.0
    refresh: Callable[[], None] = field(default=lambda: None)
    every_s: float = 0.0

    def progress(self) -> Lines:
        return Lines(self.told.append, lambda: self.now, self._repeating)

    @contextmanager
    def _repeating(self, action: Callable[[], None], every_s: float) -> Iterator[None]:
        self.refresh, self.every_s = action, every_s
        yield


def test_a_step_is_a_line_at_its_begin_and_one_with_its_duration_at_its_end() -> None:
    stage = Stage()
    with stage.progress().step("Unpacking Debian", "packages") as step:
        step.advance(70, 150)
        assert stage.told == ["Unpacking Debian …"]
        step.advance(150, 150)
        stage.now += 43
    assert stage.told[1:] == ["Unpacking Debian: 43 s (150 packages)"]


def test_a_step_that_fails_tells_how_far_it_came() -> None:
    stage = Stage()
    with pytest.raises(KeyboardInterrupt), stage.progress().step("Copying the disk", "MB") as step:  # noqa: PT012
        step.advance(300.4, 800)
        stage.now += 125
        raise KeyboardInterrupt
    assert stage.told[1:] == ["Copying the disk: given up after 2 min 5 s (300 of 800 MB)"]


def test_a_long_step_shows_life_now_and_then() -> None:
    stage = Stage()
    with stage.progress().step("Copying the disk", "MB") as step:
        assert stage.every_s < 1
        stage.refresh()
        stage.now += 15
        stage.refresh()
        stage.refresh()
        step.advance(300, 800)
        step.note("\x1b[1mblock 7\x1b[0m\r\n")
        stage.now += 15
        stage.refresh()
    assert stage.told[1:-1] == ["Copying the disk: 15 s", "Copying the disk: 30 s, 300 of 800 MB, block 7"]


def test_where_most_steps_are_short_only_the_long_ones_are_told() -> None:
    stage = Stage()
    progress = replace(stage.progress(), patience_s=3.0)
    with progress.step("Sending 2 files", "MB"):
        stage.now += 2.9
        stage.refresh()
    assert stage.told == []
    with progress.step("Sending 2 files", "MB") as step:
        step.advance(100, 800)
        stage.now += 3
        stage.refresh()
        stage.refresh()
        stage.now += 14
        stage.refresh()
        stage.now += 1
        stage.refresh()
        step.advance(800, 800)
    told = ["Sending 2 files: 3 s, 100 of 800 MB", "Sending 2 files: 18 s, 100 of 800 MB", "Sending 2 files: 18 s (800 MB)"]
    assert stage.told == told


def test_an_action_is_repeated_until_the_block_ends_whatever_it_fails_with() -> None:
    runs, seen = [0], threading.Event()

    def act() -> None:
        runs[0] += 1
        if runs[0] == 3:
            seen.set()
        raise FileNotFoundError

    with repeating(act, 0.001):
        assert seen.wait(10)
    after = runs[0]
    assert not any(thread.name == "progress" and thread.is_alive() for thread in threading.enumerate())
    assert runs[0] == after


def test_what_a_file_takes_on_the_disk_is_counted_to_its_end(tmp_path: Path) -> None:
    counter, file = Counter("Copying", "MB", 0.0), tmp_path / "disk"
    with growing(counter, file, 2.0):
        file.write_bytes(b"x" * 2 * MB)
    assert (counter.count(), counter.total) == ("2 MB", 2.0)


def test_a_file_that_never_came_to_be_is_no_error(tmp_path: Path) -> None:
    counter = Counter("Copying", "MB", 0.0)
    with growing(counter, tmp_path / "absent"):
        pass
    assert counter.count() == ""


@pytest.mark.parametrize(
    ("console", "told"),
    [
        ("[    1.2] systemd[1]: Started ssh\r\n", "[ 1.2] systemd[1]: Started ssh"),
        ("one\n\x1b[0;32m  OK  \x1b[0m] two\n\x1b[?25l\x1b[2K\n \n", "OK ] two"),
        ("a\rb\rc", "c"),
        ("\x1b]0;a title\x07text\x1b(B", "text"),
        ("\x1b]0;a title\x1b\\text", "text"),
        ("Loading\x1b[", "Loading"),  # the end of what is there so far
        ("", ""),
    ],
)
def test_of_a_console_the_last_line_that_can_be_read_counts(console: str, told: str) -> None:
    assert last_line(console) == told


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_left(text: str) -> None:
    assert plain(text).isprintable()
    assert last_line(text).isprintable()


def test_a_note_that_says_nothing_leaves_the_one_before() -> None:
    counter = Counter("Booting", "", 0.0)
    counter.note("Loading the kernel")
    counter.note("\x1b[2J\n")
    assert counter.latest == "Loading the kernel"


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min 0 s"), (185.2, "3 min 5 s")])
def test_a_duration_is_told_as_people_say_it(seconds: float, told: str) -> None:
    assert duration(seconds) == told
