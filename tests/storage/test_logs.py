"""Logs that are looked at while they grow: only the new is read, and the text is that of the file."""

import os
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.storage.logs import job_log
from server.storage.logs.index import LogIndex, Remark
from server.storage.logs.job_log import LOG_HEAD_BYTES, LOG_TAIL_BYTES, Log, Logs, stamp
from server.storage.logs.spliced import Spliced


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Bytes read from files since it was asked last."""
    counts = [0]
    real = os.pread

    def counted(handle: int, count: int, position: int) -> bytes:
        part = real(handle, count, position)
        counts[0] += len(part)
        return part

    def since() -> int:
        count, counts[0] = counts[0], 0
        return count

    monkeypatch.setattr(job_log.os, "pread", counted)
    return since


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_look_reads_only_what_is_new(path: Path, read: Callable[[], int]) -> None:
    log = Log(path)
    path.write_bytes(b"x" * 200_000 + b"\n")
    log.text()
    assert read() == 200_001
    first = log.text()
    assert read() == 0
    append(path, b"a new line\n")
    second = log.text()
    assert read() == 11
    assert second == first + "a new line\n"


def test_a_very_long_log_is_read_once_and_then_only_the_new(path: Path, read: Callable[[], int]) -> None:
    log = Log(path)
    line = b"x" * 99 + b"\n"
    path.write_bytes(b"first\n" + line * 40_000)
    assert log.text() == Log(path).text()
    assert read() == 2 * (4_000_006 + LOG_HEAD_BYTES + LOG_TAIL_BYTES)
    append(path, b"last\n")
    text = log.text()
    assert read() == 5
    assert text == Log(path).text()
    assert text.startswith("first\n" + "x" * 99)
    assert text.endswith("last\n")
    assert {len(piece) for piece in text.splitlines()[1:-1] if not piece.startswith("[SERVER]")} == {99}, "cut within a line"


def point(number: int) -> bytes:
    """The measure of the machine after that many quarters of a minute."""
    at = datetime.fromtimestamp(1_700_000_000 + 15 * number, UTC)
    return f"[INFO] {at:%Y-%m-%d %H:%M:%S} UTC;CPU:{number % 100}.0%;RAM:1.0%\n".encode()


def test_the_plot_of_a_run_of_14_days_has_points_all_over_it_within_the_limit(path: Path) -> None:
    chat = b"a spectrum was scored\n [INFO] 2023-11-14 22:13:20 UTC;CPU:9.0%;RAM:9.0%\n"
    with path.open("wb") as file:
        for number in range(80_000):
            file.write(point(number) + chat)
    shown = Log(path).text()
    assert len(shown.encode()) <= LOG_HEAD_BYTES + LOG_TAIL_BYTES
    numbers = [
        (datetime.strptime(line[7:26], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() - 1_700_000_000) // 15
        for line in shown.splitlines()
        if line.startswith("[INFO] ")
    ]
    gaps = [later - earlier for earlier, later in pairwise(numbers)]
    assert numbers[0] == 0
    assert numbers[-1] == 79_999
    assert 0 < min(gaps) <= max(gaps) <= 80_000 / 1000
    assert 1500 <= len([gap for gap in gaps if gap > 1]) <= 3000


def test_300_mb_are_shown_in_time_and_memory(path: Path) -> None:
    line = b"[STDERR] spectrum 1234567 of 7654321 was scored: 0.123456789\n"
    with path.open("wb") as file:
        for number in range(300):
            file.write(point(number) + line * 16_000)
    log = Log(path)
    tracemalloc.start()
    begin = time.monotonic()
    shown = log.text()
    took, (_, peak) = time.monotonic() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 290_000_000
    assert took < 20  # well below a second where nothing else runs
    assert peak < 20_000_000
    assert log.kept_bytes < 2_000_000
    assert len([1 for line in shown.splitlines() if line.startswith("[INFO] ")]) == 300
    append(path, b"last\n")
    begin = time.monotonic()
    assert log.text().endswith("last\n")
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("content", [b"", b"begin\n"])
def test_a_hole_of_gigabytes_is_not_read(path: Path, read: Callable[[], int], content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.truncate(5_000_000_000)
        file.seek(0, 2)
        file.write(content)
    log = Log(path)
    assert len(log.text()) <= LOG_HEAD_BYTES + LOG_TAIL_BYTES
    assert read() < 2_200_000_000
    append(path, point(1))
    assert log.text().endswith(point(1).decode())
    assert read() < 3_000_000


@pytest.mark.parametrize("size", [0, 3, 64, 1000, 5000])
def test_lines_are_found_however_the_file_grows(path: Path, size: int) -> None:
    whole = b"".join(point(number) + b"x" * (number % 90) + b"\n" for number in range(200))
    begun = b"[SERVER] 2023-11-14 22:13:20 UTC - job 3, attempt 2, on job-3-2\n"
    whole = b"before\n" + begun + whole
    index = LogIndex()
    for at in range(0, len(whole), size or len(whole)):
        index.feed(whole[at : at + (size or len(whole))])
    points = index.points(0, len(whole))
    assert [line for _, line in points] == [point(number) for number in range(200)]
    assert all(whole[offset:].startswith(line) for offset, line in points)
    assert index.place([Remark(0.0, 2, False, "x")], len(whole))[0][0] == len(b"before\n")


def test_a_line_without_end_is_no_line_of_ours(path: Path) -> None:
    index = LogIndex()
    for _ in range(100):
        index.feed(b"x" * 100_000)
        index.feed(b"[INFO] ")
    assert index.kept_bytes < 1_000_000
    index.feed(b"\n" + point(1))
    assert [line for _, line in index.points(0, 10**9)] == [point(1)]


def log_of_two_attempts() -> bytes:
    def begun(number: int, at: int) -> bytes:
        return f"[SERVER] 1970-01-01 00:{at:02}:00 UTC - job 3, attempt {number}, on job-3\n".encode()

    def measure(at: int) -> bytes:
        return f"[INFO] 1970-01-01 00:{at:02}:00 UTC;CPU:1.0%;RAM:1.0%\n".encode()

    return begun(1, 10) + measure(10) + b"one\n" + measure(20) + b"two\n" + begun(3, 50) + measure(50) + b"three\n"


REMARKS = [
    Remark(300.0, 1, False, "submitted"),
    Remark(599.0, 1, False, "made"),
    Remark(900.0, 1, True, "at 15 minutes"),
    Remark(1500.0, 1, True, "lost"),
    Remark(1600.0, 2, False, "second"),
    Remark(1700.0, 3, False, "third\n[INFO] x"),
    Remark(9000.0, 3, True, "late"),
]
TOLD = [
    "submitted",
    "made",
    "job 3, attempt 1, on job-3",
    "at 15 minutes",
    "one",
    "lost",
    "two",
    "second",
    "third",
    "job 3, attempt 3, on job-3",
    "three",
    "late",
]


def told(text: str) -> list[str]:
    return [line.rpartition(" - ")[2] for line in text.splitlines() if "[INFO]" not in line]


def test_remarks_stand_where_they_belong_in_the_log_and_in_all_of_it(path: Path) -> None:
    path.write_bytes(log_of_two_attempts())
    shown = Log(path).text(REMARKS)
    assert sorted(told(shown)) == sorted(TOLD)
    assert [line for line in told(shown) if line not in ("one", "two")] == [line for line in TOLD if line not in ("one", "two")]
    assert "[SERVER] 1970-01-01 00:05:00 UTC - submitted\n" in shown
    assert "\n [INFO] x\n" in shown
    with Log(path).whole(REMARKS) as whole:
        assert whole.read().decode() == shown


def test_remarks_alone_make_a_log(path: Path) -> None:
    assert told(Log(path).text(REMARKS[:2])) == ["submitted", "made"]


def test_a_remark_after_half_a_line_begins_a_line(path: Path) -> None:
    path.write_bytes(b"half")
    assert Log(path).text(REMARKS[2:3]) == "half\n[SERVER] 1970-01-01 00:15:00 UTC - at 15 minutes\n"


@given(
    st.binary(max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=5)), max_size=5),
    st.integers(0, 60),
    st.data(),
)
def test_a_spliced_file_reads_as_its_parts_together(
    content: bytes, insertions: list[tuple[int, bytes]], at: int, data: st.DataObject
) -> None:
    insertions = sorted((min(offset, len(content)), text) for offset, text in insertions)
    whole, cut = b"", 0
    for offset, text in insertions:
        whole += content[cut:offset] + text
        cut = offset
    whole += content[cut:]
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        spliced = Spliced(file, len(content), insertions)
        assert spliced.size == len(whole) == spliced.seek(0, 2)
        spliced.seek(at)
        count = data.draw(st.integers(0, 60))
        found = b""
        while len(found) < count and (part := spliced.read(count - len(found))):
            found += part
        assert found == whole[at : at + count]


def replace(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(b"another file that is longer\n")
    beside.rename(path)


def write_over(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"eno\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [replace, write_over, lambda path: path.write_bytes(b"o\n"), Path.unlink])
def test_a_file_that_did_not_just_grow_is_read_anew(path: Path, change: Callable[[Path], object]) -> None:
    log = Log(path)
    path.write_bytes(b"one\n")
    before = log.text(), stamp(path)
    change(path)
    assert log.text() == Log(path).text() != before[0]
    assert stamp(path) != before[1]


def test_a_hole_is_looked_at_again(path: Path) -> None:
    log = Log(path)
    path.write_bytes(b"\0\0\0\ntwo\n")
    before = path.stat()
    log.text()
    with path.open("r+b") as file:
        file.write(b"one")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert log.text() == "one\ntwo\n"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts=st.lists(st.text(alphabet="aé漢\n\0", max_size=6).map(str.encode) | st.binary(max_size=4), max_size=12))
def test_the_text_is_that_of_the_whole_file_however_it_grew(
    path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr(job_log, "LOG_HEAD_BYTES", 8)
    monkeypatch.setattr(job_log, "LOG_TAIL_BYTES", 16)
    monkeypatch.setattr(job_log, "POINTS_BYTES", 4)
    path.write_bytes(b"")
    log = Log(path)
    for part in parts:
        append(path, part)
        assert log.text() == Log(path).text()
        if "left out" not in log.text():
            assert log.text() == path.read_bytes().decode(errors="replace")


def test_what_was_evicted_is_not_read_as_a_whole_again(tmp_path: Path, read: Callable[[], int]) -> None:
    kept = Logs(max_bytes=3_000_000)
    paths = [tmp_path / f"log{number}" for number in range(6)]
    for path in paths:
        path.write_bytes((b"x" * 99 + b"\n") * 50_000)
        kept.text(path)
    read()
    shown = kept.text(paths[0])
    assert 0 < read() <= LOG_HEAD_BYTES + LOG_TAIL_BYTES
    assert shown == Log(paths[0]).text()


def test_memory_is_bounded_and_the_latest_are_kept(tmp_path: Path, read: Callable[[], int]) -> None:
    kept = Logs(max_bytes=35_000)
    paths = [tmp_path / f"log{number}" for number in range(5)]
    for path in paths:
        path.write_bytes(b"x" * 10_000)
        kept.text(path)
    read()
    kept.text(paths[-1])
    assert read() == 0
    kept.text(paths[0])
    assert read() == 10_000
