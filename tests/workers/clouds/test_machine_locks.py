"""Locks hold between threads and processes, and end with who held them."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.machine_locks import exclusive, is_held

HOLD = """
import sys, time
from pathlib import Path
from server.workers.clouds.machine_locks import exclusive
with exclusive(Path(sys.argv[1]), "job-1", 5):
    print(flush=True)
    time.sleep(60)
"""


def test_two_threads_do_not_hold_one_lock(tmp_path: Path) -> None:
    inside: list[str] = []

    def work(name: str) -> None:
        with exclusive(tmp_path / "lock", "job-1", 10):
            inside.append(f"{name} in")
            inside.append(f"{name} out")

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 16
    assert all(inside[i][0] == inside[i + 1][0] for i in range(0, 16, 2))


def test_who_waits_too_long_is_told(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", "job-1", 1):
        assert is_held(tmp_path / "lock", "job-1")
        with pytest.raises(InfrastructureError, match="job-1 is being worked on"), exclusive(tmp_path / "lock", "job-1", 0.05):
            pass
    assert not is_held(tmp_path / "lock", "job-1")


def test_other_names_are_not_waited_for(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", "job-1", 1), exclusive(tmp_path / "lock", "job-2", 1):
        assert is_held(tmp_path / "lock", "job-2")


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_held(tmp_path / "lock", "job-1")
        holder.kill()
    with exclusive(tmp_path / "lock", "job-1", 1):
        pass
