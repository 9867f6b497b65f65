"""What the demonstration shows of its job, and what it says to do next."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.psms import Psm
from scripts.showing import Following, Log, machine_message, next_steps, show_log_line
from server.progress import Counter, Lines, Step
from server.settings import CloudName, Settings
from tests.screen import run_python

PATH = "/srv/lab/" + "/".join(f"folder-{number:02}" for number in range(12))


@dataclass
class Job:
    """A job that is at one of these states at each look; a second goes by between two."""

    rows: list[tuple[str, str]]
    now: float = 100.0
    told: list[str] = field(default_factory=list)

    def follow(self) -> str:
        states = iter(self.rows)
        progress = Lines(self.told.append, lambda: self.now)
        following = Following(progress, lambda: self._row(states), str, lambda: self.now, self._pause)
        return following.follow(7, 100.0)

    def _row(self, states: Iterator[tuple[str, str]]) -> dict[str, object]:
        return dict(zip(("status", "log"), next(states), strict=True))

    def _pause(self, _seconds: float) -> None:
        self.now += 1


def test_phases_and_log_lines_are_shown_once_each_in_their_order() -> None:
    log = "linked input\nSearch start\n"
    job = Job([("PENDING", ""), ("PREPARING", ""), ("RUNNING", log[:20]), ("RUNNING", log), ("DONE", f"{log}without an end")])
    assert job.follow() == "DONE"
    assert job.told == [
        "Job 7 …",
        "   0.0 s  waiting for its files and a machine",
        "   1.0 s  making a machine and starting the app on it",
        "linked input",
        "   2.0 s  running",
        "Search start",
        "without an end",
        "   4.0 s  done",
        "Job 7: 4 s",
    ]


def test_while_a_machine_is_made_its_latest_message_is_what_the_job_is_at() -> None:
    stage = Job([("PENDING", ""), ("PREPARING", ""), ("RUNNING", ""), ("DONE", "")])
    counters: list[Counter] = []

    class Kept(Lines):
        @contextmanager
        def step(self, text: str, unit: str = "") -> Iterator[Step]:
            counters.append(Counter(text, unit, 0.0))
            yield counters[0]

    states, latest = iter(stage.rows), list[str]()
    following = Following(
        Kept(stage.told.append),
        lambda: dict(zip(("status", "log"), next(states), strict=True)),
        lambda: "[  OK  ] Started \x1b[1mssh\x1b[0m\r\n",
        pause=lambda _: latest.append(counters[0].latest),
    )
    following.follow(7, 0.0)
    assert latest == ["waiting for its files and a machine", "[ OK ] Started ssh", "running"]


def test_the_log_of_another_attempt_is_shown_from_its_begin() -> None:
    log = Log()
    assert list(log.new("one\ntwo\n", ended=False)) == ["one", "two"]
    assert list(log.new("again\n", ended=False)) == ["again"]


def test_a_line_that_is_added_between_others_is_shown_alone() -> None:
    log = Log()
    assert list(log.new("submitted\nit waits\n", ended=False)) == ["submitted", "it waits"]
    assert list(log.new("submitted\nit is made\nfirst\nsame\nsame\n", ended=False)) == ["it is made", "first", "same", "same"]
    assert list(log.new("submitted\nit is made\nit begins\nfirst\nsame\nsame\nsame\n", ended=False)) == ["it begins", "same"]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), st.data())
def test_however_a_log_grows_each_line_is_shown_once(lines: list[str], data: st.DataObject) -> None:
    text, log, shown = "".join(f"{line}\n" for line in lines), Log(), list[str]()
    for cut in sorted(data.draw(st.lists(st.integers(0, len(text))))):
        shown += log.new(text[:cut], ended=False)
    assert [*shown, *log.new(text, ended=True)] == lines


def test_a_log_line_keeps_its_spaces_and_moves_no_cursor() -> None:
    told: list[str] = []
    show_log_line(Lines(told.append), "  - \x1b[2JLoad spectra:\t1120\a\r")
    assert told == ["  - Load spectra:       1120"]


def test_the_machine_s_latest_message_is_told_while_it_is_made(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cloud=CloudName.QEMU)
    assert machine_message(settings, 7) == ""
    for worker in ("job-7", "job-7-2", "job-77", "canary-7"):
        console = tmp_path / "qemu" / "machines" / worker / "console.log"
        console.parent.mkdir(parents=True)
        console.write_text(f"booting {worker}\n")
    assert machine_message(settings, 7) == "booting job-7-2\n"
    assert machine_message(settings.model_copy(update={"cloud": CloudName.LOCAL}), 7) == ""


def printed(checkout: Path, spectra: Path, cloud: CloudName = CloudName.QEMU) -> list[list[str]]:
    """The commands as a shell takes them apart."""
    lines = next_steps(checkout, "comet_2019.015", spectra, Path("/data/my proteins.fasta"), cloud).split("\n")
    return [shlex.split(re.sub(r"^JOB=\$\((.*)\)$", r"\1", line.strip())) for line in lines if line.startswith("  ")]


def test_what_to_do_next_are_three_commands_that_a_shell_takes_as_they_are() -> None:
    checkout = Path("/home/ada/my work/cumulus")
    run, submit, get = printed(checkout, Path("/data/it's mine [1].mzML"))
    cumulus = f"{checkout}/.venv/bin/cumulus"
    assert run == ["make", "-C", str(checkout), "run"]
    assert submit[:3] == [cumulus, "submit", "comet_2019.015"]
    assert submit[3:] == ["--input", "spectra=/data/it's mine [1].mzML", "--input", "database=/data/my proteins.fasta"]
    assert get == [cumulus, "logs", "-f", "$JOB", "&&", cumulus, "get", "$JOB", "--to", "results"]


def test_another_cloud_is_named(tmp_path: Path) -> None:
    assert printed(tmp_path, tmp_path / "a.mgf", CloudName.LOCAL)[0][-1] == "CLOUD=local"


def test_nobody_is_told_to_start_a_second_controller(tmp_path: Path) -> None:
    text = next_steps(tmp_path, "comet_2019.015", tmp_path / "a.mgf", tmp_path / "b.fasta", CloudName.QEMU, running=True)
    assert "make" not in text
    assert "second terminal" not in text
    assert " submit comet_2019.015 " in text


def test_where_sudo_made_the_storage_the_commands_need_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert [command[0] for command in printed(tmp_path, tmp_path / "a.mgf")] == ["make", "sudo", "sudo"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_command_and_no_path_is_broken(width: int) -> None:
    text = next_steps(Path(PATH), "comet_2019.015", Path(f"{PATH}/a.mzML"), Path(f"{PATH}/b.fasta"), CloudName.QEMU)
    script = f"import sys\nfrom server.cli.shared.terminal import progress_on\nprogress_on(sys.stdout).say({text!r})\n"
    assert run_python(script, width).screen.lines() == [line for line in text.split("\n") if line]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_best_hits_fit_or_are_whole_all_the_same(width: int) -> None:
    psm = Psm(1665, 3, 8.49e-3, 2.59, "K.HLVDEPQNLIK.Q", "sp|P02769|ALBU_BOVIN,sp|P00000|OTHER_BOVIN")
    shown = run_python(f"from scripts.psms import Psm\nfrom scripts.showing import show_psms\nshow_psms([{psm!r}])\n", width)
    for word in ("1665", "8.49e-03", "K.HLVDEPQNLIK.Q", "sp|P02769|ALBU_BOVIN,sp|P00000|OTHER_BOVIN"):
        assert word in shown.raw
