"""Logs that are looked at while they grow: only the new is read, and the text is that of the file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.storage import logs
from server.storage.logs import LOG_HEAD_BYTES, LOG_TAIL_BYTES, Log, Logs, stamp


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

    monkeypatch.setattr(logs.os, "pread", counted)
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


def test_of_a_very_long_log_only_the_two_ends_are_read_and_then_only_the_new(path: Path, read: Callable[[], int]) -> None:
    log = Log(path)
    path.write_bytes(b"first\n" + b"x" * (3 * LOG_TAIL_BYTES))
    assert log.text() == Log(path).text()
    assert read() == 2 * (LOG_HEAD_BYTES + LOG_TAIL_BYTES)
    append(path, b"last\n")
    text = log.text()
    assert read() == 5
    assert text == Log(path).text()
    assert text.endswith("last\n")


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
    monkeypatch.setattr(logs, "LOG_HEAD_BYTES", 8)
    monkeypatch.setattr(logs, "LOG_TAIL_BYTES", 16)
    path.write_bytes(b"")
    log = Log(path)
    whole = b""
    for part in parts:
        append(path, part)
        whole += part
        left_out = f"\n[SERVER] … {len(whole) - 24} bytes left out …\n".encode() if len(whole) > 24 else b""
        shown = whole[:8] + left_out + whole[8:][-16:]
        assert log.text() == shown.decode(errors="replace")


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
