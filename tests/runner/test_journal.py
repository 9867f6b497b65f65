"""The log on the machine, and its measures."""

from pathlib import Path

import pytest
from cumulus_runner import meter as meters
from cumulus_runner.journal import Journal
from cumulus_runner.meter import Meter, memory_usage, processor_times, usage

from tests.disks import fill, needs_root, small_disk
from tests.runner.conftest import wait_until


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "log"), now=lambda: 0.0)


def test_lines_have_the_time_in_utc(journal: Journal) -> None:
    journal.server("two\nlines")
    assert Path(journal.path).read_text() == "[SERVER] 1970-01-01 00:00:00 UTC - two\ufffdlines\n"


def test_an_app_gone_mad_does_not_fill_the_storage(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "log"), now=lambda: 0.0, limit=1000)
    for number in range(5000):
        journal.program(f"line {number}")
    journal.finish_program()
    text = (tmp_path / "log").read_text()
    assert len(text) < 8000
    assert text.startswith("line 0\n")
    assert text.endswith("line 4999\n")
    assert "lines left out" in text


@needs_root
def test_the_log_leaves_the_machine_s_disk_its_last_bytes_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "work", "1m"):
        log = tmp_path / "work" / "log"
        journal = Journal(str(log), now=lambda: 0.0, reserve=10**9)
        journal.program("one")
        (tmp_path / "work" / "others").write_bytes(bytes(1_036_000))
        journal._space.look_again()
        for number in range(50):
            journal.program(f"lost {number}")
        fill(tmp_path / "work" / "rest")
        journal.server("x" * 5000)
        (tmp_path / "work" / "others").unlink()
        journal._space.look_again()
        journal.program("two")
        lines = [line for line in log.read_text().splitlines() if not line.endswith("xxx")]
        assert [line.partition(" - ")[2] or line for line in lines] == [
            "one",
            "this machine's disk is nearly full: lines of the app are left out of the log until there is room",
            "50 lines of the app are left out here: this machine's disk was nearly full",
            "two",
        ]
        assert log.read_text().count("x" * 5000) == 1


def test_a_closed_log_takes_no_lines_and_no_harm(journal: Journal) -> None:
    journal.close()
    journal.server("late")
    assert Path(journal.path).read_text() == ""


def test_the_machine_is_measured_over_the_time_between(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n")
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 750 kB\n")
    before = processor_times(str(tmp_path))
    assert before == (200, 1000)
    assert usage(before, (260, 1120)) == 50.0
    assert usage(before, before) == 20.0
    assert memory_usage(str(tmp_path)) == 25.0


def test_measures_go_on_until_the_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "INTERVAL_S", 0.05)
    meter = Meter(journal, lambda: 0.0)
    meter.start()
    wait_until(lambda: Path(journal.path).read_text().count("[INFO]") >= 3)
    meter.end()
    meter.join(5)
    assert not meter.is_alive()
