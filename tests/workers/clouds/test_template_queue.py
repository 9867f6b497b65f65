"""Who waits for another command is told for which."""

import os
import threading
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.workers.clouds import template_queue
from server.workers.clouds.template_queue import turn
from tests.conftest import eventually


def test_the_second_waits_and_says_for_whom(tmp_path: Path) -> None:
    lock, said, order = tmp_path / "lock", [], []

    def second() -> None:
        with turn(lock, "template", said.append):
            order.append("second")

    with turn(lock, "template", print):
        thread = threading.Thread(target=second)
        thread.start()
        eventually(lambda: said != [])
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert said[0].startswith(f"another command (process {os.getpid()}, since ")


def test_nothing_is_said_where_nobody_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with turn(tmp_path / "lock", "template", said.append):
            pass
    assert said == []
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_who_has_nobody_to_tell_gives_up_soon_and_names_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_queue, "SHORT_LIMIT_S", 0.05)
    named = pytest.raises(InfrastructureError, match=f"process {os.getpid()}, since .*is at work on the template or a snapshot")
    with turn(tmp_path / "lock", "template", print), named, turn(tmp_path / "lock", "template", None):
        pass


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 4000000, "since": 0}', '{"pid": 1}'])
def test_a_note_that_tells_nothing_is_no_hindrance(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_queue, "SHORT_LIMIT_S", 0.05)
    with turn(tmp_path / "lock", "template", print):
        (tmp_path / "lock.holder").write_text(text)
        with pytest.raises(InfrastructureError, match=r"^another command is at work"), turn(tmp_path / "lock", "template", None):
            pass
