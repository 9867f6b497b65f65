"""Long lists of results are not made again and again, and never kept where they may be wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.storage import outputs
from server.storage.folders import JobFolder
from server.storage.job_folder.results import Results
from server.storage.outputs import FACTOR, FEW, Outputs


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(JobFolder):
    """A folder that takes a second to list."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path)
        self.results = self.listed = Listed(self.output, clock)


class Listed(Results):
    """The results of a folder that takes a second to list."""

    def __init__(self, output: Path, clock: Clock) -> None:
        super().__init__(output)
        self.clock = clock
        self.looks = 0

    def each_file(self) -> Iterator[tuple[str, int]]:
        self.looks += 1
        self.clock.now += 1.0
        return super().each_file()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> Slow:
    made = Slow(tmp_path / "Job_1", clock)
    made.create("{}")
    (made.output / "deep").mkdir()
    (made.output / "deep" / "a.txt").write_text("abc")
    return made


def files(kept: Outputs, folder: JobFolder, *, has_ended: bool = True) -> list[list[object]]:
    found: list[list[object]] = json.loads(kept.listing(folder, has_ended=has_ended).json)
    return found


def test_a_short_list_is_made_each_time(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "Job_1")
    folder.create("{}")
    kept = Outputs(clock=Clock())
    stamps = set()
    for text in ("a", "ab", "abc"):
        (folder.output / "a.txt").write_text(text)
        assert files(kept, folder) == [["a.txt", len(text)]]
        stamps.add(kept.listing(folder, has_ended=True).stamp)
    assert len(stamps) == 3


def test_that_of_a_job_that_has_ended_is_made_once(folder: Slow, clock: Clock) -> None:
    kept = Outputs(clock=clock)
    for _ in range(5):
        assert files(kept, folder) == [["deep/a.txt", 3]]
        clock.now += 3600
    assert folder.listed.looks == 1


@pytest.mark.parametrize("place", ["b.txt", "deep/b.txt"])
def test_a_file_that_comes_or_goes_is_seen_when_the_list_may_be_made_again(folder: Slow, clock: Clock, place: str) -> None:
    kept = Outputs(clock=clock)
    assert len(files(kept, folder)) == 1
    (folder.output / place).touch()
    clock.now += FACTOR + 1
    assert len(files(kept, folder)) == 2
    (folder.output / place).unlink()
    clock.now += FACTOR + 1
    assert len(files(kept, folder)) == 1


def test_a_folder_that_is_deleted_is_empty(folder: Slow, clock: Clock) -> None:
    kept = Outputs(clock=clock)
    files(kept, folder)
    folder.remove()
    clock.now += FACTOR + 1
    assert files(kept, folder) == []


def test_that_of_a_job_at_work_is_made_for_a_tenth_of_the_time_at_most(folder: Slow, clock: Clock) -> None:
    kept = Outputs(clock=clock)
    for _ in range(100):
        files(kept, folder, has_ended=False)
        clock.now += 1
    assert folder.listed.looks <= 100 / FACTOR + 1


def test_what_is_kept_is_bounded(tmp_path: Path, clock: Clock) -> None:
    kept = Outputs(clock=clock, max_bytes=100)
    for number in range(10):
        folder = Slow(tmp_path / f"Job_{number}", clock)
        folder.create("{}")
        (folder.output / ("x" * 60)).touch()
        files(kept, folder)
    assert len(kept._kept) == 1


@pytest.mark.parametrize("count", [FEW - 1, FEW, FEW + 1])
def test_a_long_list_is_the_same_list(tmp_path: Path, count: int) -> None:
    folder = JobFolder(tmp_path / "Job_1")
    folder.create("{}")
    for number in range(count):
        (folder.output / f"{number:05}").touch()
    assert files(Outputs(), folder) == [[f"{number:05}", 0] for number in range(count)]


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 3), ("MAX_JSON_BYTES", 3 * 30)])
def test_a_list_ends_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(outputs, limit, value)
    folder = JobFolder(tmp_path / "Job_1")
    folder.create("{}")
    for number in range(10):
        (folder.output / f"{number:05}").touch()
    assert len(files(Outputs(), folder)) == 3
