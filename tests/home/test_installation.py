"""An installation's id, and who of its processes runs."""

import json
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from server.home import presence
from server.home.controller_lock import is_held, only_controller
from server.home.folder import HomeUnusable, close_home
from server.home.installation import installation_id, read_id, remember_id
from server.home.presence import announced
from server.home.running import AlreadyRunning, end_controller, running_controller
from tests.conftest import eventually
from tests.faults.home import KINDS


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


def test_who_starts_right_after_a_kill_waits_until_the_killed_one_is_gone(tmp_path: Path) -> None:
    """The lock outlasts its holder here as where the kernel still gives back the memory of a large one."""
    code = (
        "import pathlib, subprocess, sys, time\n"
        "from server.home.controller_lock import only_controller\n"
        "with only_controller(pathlib.Path(sys.argv[1])) as lock:\n"
        "    subprocess.Popen(['cat'], stdout=subprocess.DEVNULL, pass_fds=[lock.fileno()])\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid}"), only_controller(tmp_path):
            pass
        holder.kill()
        gone = threading.Timer(1.0, holder.stdin.close)  # ends the last who has the lock open
        gone.start()
        with only_controller(tmp_path):
            gone.join()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


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


def test_a_folder_of_other_things_that_is_taken_for_the_home_keeps_its_rights(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "passwd").touch(mode=0o644)
    (home / "passwd").chmod(0o644)
    for path in (home, home / "bin"):
        path.chmod(0o755)
    installation_id(home)
    (home / "cumulus.sqlite").touch(mode=0o644)
    close_home(home, home / "storage")
    told = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.iterdir())}
    assert told == {"home": 0o755, "bin": 0o755, "passwd": 0o644, "installation-id": 0o644, "cumulus.sqlite": 0o600}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that looks often."""
    monkeypatch.setattr(presence, "INSPECT_S", 0.05)


@pytest.fixture
def used(tmp_path: Path) -> tuple[Path, str]:
    """A home in which machines were made, and its id."""
    home = tmp_path / "home"
    known = installation_id(home)
    (home / "terraform" / "local-worker" / "state").mkdir(parents=True)
    return home, known


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"foreign", "read_only"}))
@pytest.mark.parametrize("witness", ["copy", "variables"])
def test_an_id_that_is_lost_is_taken_from_what_machines_were_made_with(used: tuple[Path, str], kind: str, witness: str) -> None:
    home, known = used
    if witness == "copy":
        remember_id(home, known)
    else:
        (home / "terraform" / "local-worker" / "vars").mkdir()
        (home / "terraform" / "local-worker" / "vars" / "job-1.tfvars.json").write_text(json.dumps({"server_id": known}))
    KINDS[kind](home / "installation-id")
    assert installation_id(home) == known
    assert (home / "installation-id").read_text().strip() == known


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"foreign", "read_only"}))
def test_an_id_that_nothing_tells_is_not_made_up_where_there_may_be_machines(used: tuple[Path, str], kind: str) -> None:
    home, _ = used
    KINDS[kind](home / "installation-id")
    with pytest.raises(HomeUnusable, match="restore the file from a backup") as told:
        installation_id(home)
    assert str(home / "installation-id") in told.value.message
    assert "\n" not in told.value.message


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"foreign", "read_only"}))
def test_a_home_in_which_nothing_was_made_gets_another_id(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    installation_id(home)
    KINDS[kind](home / "installation-id")
    assert installation_id(home) == installation_id(home)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"foreign", "read_only"}))
@pytest.mark.usefixtures("soon")
def test_a_controller_whose_lock_is_gone_is_found_by_its_address_and_takes_it_again(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    known = installation_id(home)
    with only_controller(home) as lock, announced(home, "http://127.0.0.1:1", lock, known):
        KINDS[kind](home / "controller.lock")
        assert is_held(home)
        eventually(lambda: (home / "controller.lock").is_file() and not (home / "controller.lock").is_symlink())
        (home / "controller.json").unlink()
        with pytest.raises(AlreadyRunning), only_controller(home):
            pass
        eventually(lambda: running_controller(home) is not None)


@pytest.mark.parametrize("name", ["controller.json", "installation-id"])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"foreign", "read_only"}))
@pytest.mark.usefixtures("soon")
def test_what_tells_of_a_running_controller_is_put_right(tmp_path: Path, name: str, kind: str) -> None:
    home = tmp_path / "home"
    known = installation_id(home)
    with only_controller(home) as lock, announced(home, "http://127.0.0.1:1", lock, known):
        KINDS[kind](home / name)
        eventually(lambda: running_controller(home) is not None and read_id(home) == known)
    assert running_controller(home) is None


def test_a_second_controller_is_refused_where_the_first_one_s_lock_was_removed(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        began = psutil.Process(other.pid).create_time()
        (tmp_path / "controller.json").write_text(json.dumps({"pid": other.pid, "began": began, "url": "http://127.0.0.1:1"}))
        with pytest.raises(AlreadyRunning, match=str(other.pid)), only_controller(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
