"""Results on their way back."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.runner.conftest import Worker

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of that size."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def found_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_all_files_and_folders_come_back(worker: Worker) -> None:
    made = "mkdir -p deep/er empty .hidden; echo 1 > top; echo 2 > deep/er/low; echo 3 > .hidden/x"
    worker.run(f"{made}; head -c 5000000 /dev/urandom > big")
    output = worker.job / "output"
    assert found_below(output) == {"top", "deep", "deep/er", "deep/er/low", "empty", ".hidden", ".hidden/x", "big"}
    assert (output / "big").read_bytes() == (worker.work / "output" / "big").read_bytes()
    assert "stored 4 result files" in worker.log


def test_a_name_that_is_no_text_is_kept(worker: Worker) -> None:
    worker.run(r"""touch "$(printf 'a\377')"; ln -s /etc "$(printf 'b\377')" """)
    assert os.listdir(os.fsencode(worker.job / "output")) == [b"a\xff"]


def test_results_of_a_failed_app_come_back_too(worker: Worker) -> None:
    assert worker.run("echo partial > part; exit 1")["stage"] == "app"
    assert (worker.job / "output" / "part").read_text() == "partial\n"


def test_links_elsewhere_and_devices_are_left_out(worker: Worker) -> None:
    (worker.data / "secret").write_text("S")
    links = f"ln -s {worker.data}/secret out; ln -s /etc etc; ln -s nowhere gone; mkfifo pipe"
    worker.run(f"{links}; echo 1 > real; ln -s real inside")
    assert found_below(worker.job / "output") == {"real", "inside"}
    assert (worker.job / "output" / "inside").read_text() == "1\n"
    assert not (worker.job / "output" / "inside").is_symlink()
    assert "not stored" in worker.log


def test_what_an_earlier_attempt_left_is_not_a_result(worker: Worker) -> None:
    (worker.job / "output" / "old").mkdir()
    (worker.job / "output" / "old" / "x").touch()
    worker.run("echo 1 > new")
    assert found_below(worker.job / "output") == {"new"}


@needs_root
def test_a_full_storage_is_told_and_nothing_is_called_a_result(worker: Worker) -> None:
    with small_disk(worker.job, "300k"):
        (worker.job / "output").mkdir()
        result = worker.run("head -c 1000000 /dev/zero > big")
        assert (result["stage"], result["exit_code"]) == ("results", 0)
        assert "big" in result["message"]
        assert "storage is full" in result["message"]
        assert found_below(worker.job / "output") == set()


@needs_root
def test_a_full_machine_is_told(worker: Worker) -> None:
    with small_disk(worker.work, "2m"):
        result = worker.run("head -c 9000000 /dev/zero > big || exit 7")
        assert (result["stage"], result["exit_code"]) == ("app", 7)
        assert "the machine's disk is full" in result["message"]


@needs_root
def test_a_full_machine_is_told_while_inputs_are_copied(worker: Worker) -> None:
    (worker.data / "large").write_bytes(bytes(9_000_000))
    with small_disk(worker.work, "2m"):
        one = {"name": "large", "shared": True, "target": "large", "convert": None}
        result = worker.run("echo never", one, copy_inputs=True)
        assert result["stage"] == "input"
        assert "large" in result["message"]
        assert "disk is full" in result["message"]


def test_an_output_folder_that_leads_elsewhere_is_refused_and_nothing_there_is_touched(worker: Worker, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "kept").mkdir(parents=True)
    (elsewhere / "kept" / "precious").write_text("of somebody else")
    output = worker.job / "output"
    if output.exists():
        output.rmdir()
    output.symlink_to(elsewhere)
    result = worker.run("echo 1 > mine")
    assert (result["stage"], result["exit_code"]) == ("results", 0)
    assert "is a link" in result["message"]
    assert found_below(elsewhere) == {"kept", "kept/precious"}
