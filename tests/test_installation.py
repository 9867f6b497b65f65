"""An installation's id, and who of its processes runs."""

import json
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from server.installation import (
    AlreadyRunning,
    close_home,
    end_controller,
    installation_id,
    only_controller,
    running_controller,
)
from server.presence import announced


def test_all_who_ask_at_once_get_one_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: installation_id(tmp_path / "home"), range(40)))
    assert len(found) == 1
    assert installation_id(tmp_path / "home") in found
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["installation-id"]


def test_two_installations_have_two_ids(tmp_path: Path) -> None:
    assert installation_id(tmp_path / "a") != installation_id(tmp_path / "b")


def test_a_controller_is_known_while_it_is_announced(tmp_path: Path) -> None:
    assert running_controller(tmp_path) is None
    with announced(tmp_path, "http://127.0.0.1:5000"):
        found = running_controller(tmp_path)
        assert found is not None
        assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:5000")
    assert running_controller(tmp_path) is None


def test_another_process_with_the_number_of_a_killed_controller_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        began = psutil.Process(other.pid).create_time() - 3600
        known = {"pid": other.pid, "began": began, "url": "http://127.0.0.1:5000"}
        (tmp_path / "controller.json").write_text(json.dumps(known))
        assert running_controller(tmp_path) is None
        end_controller(tmp_path, 1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": "x", "began": 0, "url": ""}', '{"pid": 1}', '{"pid": -1, "began": 0, "url": ""}']
)
def test_a_damaged_note_is_no_controller(tmp_path: Path, text: str) -> None:
    (tmp_path / "controller.json").write_text(text)
    assert running_controller(tmp_path) is None


def test_an_installation_is_held_by_one(tmp_path: Path) -> None:
    with only_controller(tmp_path), pytest.raises(AlreadyRunning), only_controller(tmp_path):
        pass
    with only_controller(tmp_path):
        pass


def test_other_users_get_nothing_of_the_home_but_where_its_controller_answers(tmp_path: Path) -> None:
    home, storage = tmp_path / "home", tmp_path / "home" / "files" / "storage"
    installation_id(home)
    storage.mkdir(parents=True)
    for name in ("cumulus.sqlite", "demo.lock", "controller.json"):
        (home / name).touch(mode=0o644)
    (home / "terraform").mkdir(mode=0o755)
    (home / "link").symlink_to(tmp_path)
    before = (tmp_path.stat().st_mode, storage.parent.stat().st_mode)
    with only_controller(home):
        close_home(home, storage)
    told = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.iterdir()) if not path.is_symlink()}
    assert told == {
        "home": 0o711,
        "cumulus.sqlite": 0o600,
        "demo.lock": 0o600,
        "controller.lock": 0o600,
        "terraform": 0o700,
        "controller.json": 0o644,
        "installation-id": 0o644,
        "files": stat.S_IMODE(before[1]),
    }
    assert tmp_path.stat().st_mode == before[0]
