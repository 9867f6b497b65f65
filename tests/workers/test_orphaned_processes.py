"""Terraforms and plays that a killed controller has left behind: real processes that look like them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from server.workers.ansible.fork_server import NAME, PR_SET_NAME
from server.workers.orphaned_processes import OrphanReaper
from tests.processes import has_ended

SLEEP = "import time; time.sleep({})"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for child in made:
        child.kill()
        child.wait()


def terraform(home: Path, workspace: str, seconds: float) -> subprocess.Popen[bytes]:
    """What the kernel shows of it is what counts."""
    environment = {**os.environ, "TF_DATA_DIR": str(home / "data"), "TF_WORKSPACE": workspace}
    return subprocess.Popen([sys.executable, "-c", SLEEP.format(seconds)], env=environment)


def play(home: Path, worker: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLEEP.format(60), str(home / "plays" / f"{worker}.start" / "inventory")])


def forked_play(home: Path, worker: str) -> subprocess.Popen[bytes]:
    """One whose command line is another's: it was forked from the process with the modules loaded."""
    folder = home / "plays" / f"{worker}.start"
    folder.mkdir(parents=True)
    renamed = f"import ctypes; ctypes.CDLL(None).prctl({PR_SET_NAME}, {NAME!r}, 0, 0, 0); print(flush=True)"
    child = subprocess.Popen([sys.executable, "-c", f"{renamed}; {SLEEP.format(60)}"], cwd=folder, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def is_over(child: subprocess.Popen[bytes]) -> bool:
    """Also for who is not its parent: a zombie is over."""
    return child.poll() is not None or has_ended(child.pid)


def former_of(home: Path) -> OrphanReaper:
    return OrphanReaper(home / "data", home / "plays")


def test_a_terraform_that_ends_by_itself_is_awaited(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    children.append(terraform(tmp_path, "job-1", 1.0))
    begin = time.monotonic()
    former_of(tmp_path).end_for("job-1", 30)
    assert children[0].wait() == 0
    assert time.monotonic() - begin < 10


def test_a_terraform_that_does_not_end_is_ended(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    children.append(terraform(tmp_path, "job-1", 60))
    former_of(tmp_path).end_for("job-1", 0.2)
    assert is_over(children[0])


def test_a_play_is_ended_at_once(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    children.append(play(tmp_path, "job-1-2"))
    former_of(tmp_path).end_for("job-1-2", 30)
    assert children[0].wait() == -9


def test_a_forked_play_is_known_by_the_folder_it_works_in(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    children.append(forked_play(tmp_path, "job-3"))
    former = former_of(tmp_path)
    assert former.workers() == ["job-3"]
    former.end_for("job-3", 30)
    assert children[0].wait() == -9


def test_those_of_other_workers_and_installations_go_on(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    home, other = tmp_path / "one", tmp_path / "other"
    children += [terraform(home, "job-2", 60), play(home, "job-11"), terraform(other, "job-1", 60), play(other, "job-1")]
    former = former_of(home)
    former.end_for("job-1", 0.1)
    assert [child.poll() for child in children] == [None] * 4
    assert former.workers() == ["job-11", "job-2"]


def test_children_of_this_controller_are_not_former_ones(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    former = former_of(tmp_path)
    assert former.workers() == []
    children.append(terraform(tmp_path, "job-1", 60))
    former.end_for("job-1", 0.1)
    assert children[0].poll() is None


def test_one_that_nobody_has_waited_for_is_over(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    """As in a container whose first process does not look after orphans: its end leaves a zombie."""
    children.append(terraform(tmp_path, "job-1", 1.0))
    former = former_of(tmp_path)
    assert former.workers() == ["job-1"]
    begin = time.monotonic()
    former.end_for("job-1", 30)
    assert time.monotonic() - begin < 10
    assert former.workers() == []


def test_what_has_ended_meanwhile_is_not_listed(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    children.append(play(tmp_path, "job-1"))
    former = former_of(tmp_path)
    assert former.workers() == ["job-1"]
    children[0].kill()
    children[0].wait()
    assert former.workers() == []


def test_who_asks_while_the_first_one_looks_waits_for_its_answer(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    """The sweep and a launch ask at the same time when a controller starts."""
    children.append(terraform(tmp_path, "job-1", 60))
    looking, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[psutil.Process]:
        looking.set()
        go_on.wait(30)
        yield psutil.Process(children[0].pid)

    former = OrphanReaper(tmp_path / "data", tmp_path / "plays", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(former.workers)
        looking.wait(30)
        second = pool.submit(former.end_for, "job-1", 0.1)
        with pytest.raises(TimeoutError):
            second.result(0.5)
        go_on.set()
        second.result()
        first.result()
    assert is_over(children[0])
