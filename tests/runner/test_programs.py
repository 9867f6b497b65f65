"""Programs and their end."""

import time
from pathlib import Path

import pytest
from cumulus_runner import programs
from cumulus_runner.programs import Attendance, Program, StopRequest, environment


def test_who_ignores_a_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "GRACE_S", 0.3)
    stop, said = StopRequest(), list[bytes]()
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    program = Program(["sh", "-c", script], str(tmp_path), environment(str(tmp_path), None), None)

    def hear(data: bytes) -> None:
        said.append(data)
        stop.make()

    begin = time.monotonic()
    assert Attendance(program, stop, (hear, said.append)).wait() == -9
    assert 0.2 < time.monotonic() - begin < 5
    assert said == [b"up\n"]


def test_all_output_is_taken_also_what_comes_last(tmp_path: Path) -> None:
    taken = {"out": 0, "err": 0}
    script = "head -c 1000000 /dev/zero; head -c 500000 /dev/zero >&2"
    program = Program(["sh", "-c", script], str(tmp_path), environment(str(tmp_path), None), None)

    def count(name: str, data: bytes) -> None:
        taken[name] += len(data)

    readers = (lambda data: count("out", data), lambda data: count("err", data))
    assert Attendance(program, StopRequest(), readers).wait() == 0
    assert taken == {"out": 1000000, "err": 500000}


def test_who_left_the_group_with_the_pipes_open_is_not_waited_for(tmp_path: Path) -> None:
    program = Program(["sh", "-c", "setsid sleep 4 & echo up"], str(tmp_path), environment(str(tmp_path), None), None)
    begin = time.monotonic()
    assert Attendance(program, StopRequest(), (lambda _: None, lambda _: None)).wait() == 0
    assert time.monotonic() - begin < 3.5
