"""A log on a storage with little room left: it takes no last byte, says so, and comes whole when there is room."""

import os
from pathlib import Path

from tests.disks import needs_root, small_disk
from tests.runner.conftest import Worker, wait_until

LINE = "x" * 99


def free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@needs_root
def test_a_growing_log_leaves_the_reserve_and_goes_on_when_there_is_room(worker: Worker) -> None:
    with small_disk(worker.job, "10m"):
        (worker.job / "output").mkdir()
        go, end = (f"while [ ! -e {name} ]; do sleep 0.02; done" for name in ("go", "end"))
        app = f"echo first; {go}; yes {LINE} | head -n 20000; echo said; {end}"
        worker.order(app, reserve=10**12, results_wait_s=60)
        worker.start()
        wait_until(lambda: "first" in worker.log)
        (worker.job / "others").write_bytes(bytes(9_000_000))
        (worker.work / "output" / "go").touch()
        wait_until((worker.job / ".cumulus.full.log").exists)
        assert free(worker.job) >= 100_000
        assert "said" not in worker.lines
        (worker.job / "others").unlink()
        wait_until(lambda: "said" in worker.lines)
        wait_until(lambda: not (worker.job / ".cumulus.full.log").exists())
        (worker.work / "output" / "end").touch()
        wait_until((worker.job / ".cumulus.result").exists)


def test_what_an_earlier_attempt_waited_for_is_forgotten(worker: Worker) -> None:
    signs = [worker.job / f".cumulus.full.{what}" for what in ("log", "results")]
    for sign in signs:
        sign.touch()
    worker.order("while [ ! -e end ]; do sleep 0.02; done", attempt=2)
    worker.start()
    wait_until(lambda: not any(sign.exists() for sign in signs))
    assert not (worker.job / ".cumulus.result").exists()
    (worker.work / "output" / "end").touch()
    wait_until((worker.job / ".cumulus.result").exists)


@needs_root
def test_the_end_of_the_log_waits_for_room_and_comes_whole(worker: Worker) -> None:
    with small_disk(worker.job, "10m"):
        (worker.job / "output").mkdir()
        worker.order(f"while [ ! -e go ]; do sleep 0.02; done; yes {LINE} | head -n 2000", reserve=10**12, results_wait_s=60)
        worker.start()
        wait_until((worker.job / ".cumulus.alive").exists)
        (worker.job / "others").write_bytes(bytes(10_395_000))  # less than a hundredth is left
        (worker.work / "output" / "go").touch()
        wait_until((worker.job / ".cumulus.full.results").exists)
        os.truncate(worker.job / "others", 9_900_000)
        wait_until((worker.job / ".cumulus.result").exists)
        assert worker.result["stage"] == "done"
        assert worker.lines == [LINE] * 2000
        wait_until(lambda: not (worker.job / ".cumulus.full.log").exists())
