"""Results on their way back."""

import errno
import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cumulus_runner import copying
from cumulus_runner.programs import StopRequest

from tests.disks import fill, needs_root, small_disk
from tests.runner.conftest import Worker, wait_until


def found_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_all_files_and_folders_come_back(worker: Worker) -> None:
    made = "mkdir -p deep/er empty .hidden; echo 1 > top; echo 2 > deep/er/low; echo 3 > .hidden/x"
    worker.run(f"{made}; head -c 5000000 /dev/urandom > big")
    output = worker.job / "output"
    assert found_below(output) == {"top", "deep", "deep/er", "deep/er/low", "empty", ".hidden", ".hidden/x", "big"}
    assert (output / "big").read_bytes() == (worker.work / "output" / "big").read_bytes()
    assert "stored 4 result files" in worker.log


def test_what_was_stored_is_reported_with_its_checksum(worker: Worker) -> None:
    worker.run("mkdir sub; printf one > sub/a; printf three > b")
    assert worker.report["results"] == [
        {"path": "b", "size": 5, "sha256": hashlib.sha256(b"three").hexdigest()},
        {"path": "sub/a", "size": 3, "sha256": hashlib.sha256(b"one").hexdigest()},
    ]


@pytest.mark.parametrize("name", ["x", "a" * 255, "ö" * 127, "a & 'b' \"c\" <d>", " 50%25+#?.txt", "...", "~", "-rf"])
def test_a_name_of_any_length_is_kept(worker: Worker, name: str) -> None:
    result = worker.run(f"mkdir sub; echo 1 > ./{shlex.quote(name)}; echo 2 > sub/{shlex.quote(name)}; echo 3 > zzz")
    assert (result["stage"], result["message"]) == ("done", "")
    assert found_below(worker.job / "output") == {name, "sub", f"sub/{name}", "zzz"}
    assert [path.name for path in worker.job.iterdir() if path.name.startswith(".cumulus.results")] == []


def test_names_that_cannot_be_fetched_get_others_and_a_list_says_which(worker: Worker) -> None:
    plain = "touch a_ 'b_c (2).txt' b_c.txt 'RENAMED FILES.txt'"
    odd = r"""touch "$(printf 'a\377')" "$(printf 'b\nc.txt')" '..\up' .cumulus.plan; ln -s /etc "$(printf 'gone\377')" """
    result = worker.run(rf"""{plain}; {odd}; mkdir "$(printf 'd\re')"; touch "$(printf 'd\re/f\033')" """)
    assert (result["stage"], result["message"]) == ("done", "")
    output = worker.job / "output"
    same = {"a_", "b_c (2).txt", "b_c.txt", "RENAMED FILES.txt"}
    other = {"a_ (2)", "b_c (3).txt", ".._up", "_cumulus.plan", "d_e", "d_e/f_", "RENAMED FILES (2).txt"}
    assert found_below(output) == same | other
    assert dict(line.split("\t") for line in (output / "RENAMED FILES (2).txt").read_text().splitlines() if "\t" in line) == {
        "a_ (2)": r"a\xff",
        "b_c (3).txt": r"b\nc.txt",
        ".._up": r"..\\up",
        "_cumulus.plan": ".cumulus.plan",
        "d_e": r"d\re",
        "d_e/f_": r"d\re/f\x1b",
    }
    assert {entry["path"] for entry in worker.report["results"]} == (same | other) - {"d_e"}
    assert "RENAMED FILES (2).txt lists them" in worker.log


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that takes names of 143 bytes at most, as encrypting ones do; none can be made on every computer."""

    def limited(function: Callable[..., object]) -> Callable[..., object]:
        def called(path: str, *more: object) -> object:
            if len(os.fsencode(os.path.basename(path))) > 143:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            return function(path, *more)

        return called

    monkeypatch.setattr(copying.os, "open", limited(os.open))
    monkeypatch.setattr(copying.os, "mkdir", limited(os.mkdir))


@pytest.mark.usefixtures("narrow")
def test_a_name_that_the_storage_does_not_take_becomes_a_short_one(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("content")
    stop = StopRequest()
    handle = os.open(tmp_path / "source", os.O_RDONLY)
    copied, again = (copying.Copy(str(tmp_path), "n" * length + ".tsv") for length in (200, 201))
    for copy in (copied, again):
        copy.fill(handle, stop)
        copy.finish()
    folder = copying.make_folder(str(tmp_path), "ö" * 90)
    os.close(handle)
    stop.close()
    assert copied.name.startswith("nnn")
    assert copied.name.endswith(".tsv")
    assert found_below(tmp_path) == {"source", copied.name, again.name, folder}
    assert (tmp_path / copied.name).read_text() == "content"


def test_what_cannot_be_read_is_named_and_keeps_nothing_else_from_being_stored(worker: Worker) -> None:
    """A file whose path is too long to be opened from outside of its folder."""
    deep = "d" * 250
    result = worker.run(f"touch a zz; (for i in $(seq 17); do mkdir {deep} && cd {deep}; done; echo lost > lost); exit 0")
    assert (result["stage"], result["exit_code"]) == ("results", 0)
    assert "could not be stored: ddd" in result["message"]
    assert "File name too long" in result["message"]
    assert "the others are there" in result["message"]
    assert len(result["message"]) < 1000
    assert {"a", "zz"} <= found_below(worker.job / "output")
    assert {"a", "zz"} <= {entry["path"] for entry in worker.report["results"]}


def test_twenty_thousand_results_are_stored_in_time(worker: Worker) -> None:
    (worker.work / "output").mkdir(parents=True)
    worker.order("seq 20000 | xargs touch; seq 200 | xargs -n1 sh -c 'echo $0 > $0'")
    begin = time.monotonic()
    subprocess.run(worker.command("--foreground"), check=True, capture_output=True, timeout=120)
    assert worker.result["stage"] == "done"
    assert time.monotonic() - begin < 60  # it is 20 s where nothing else runs: see docs/performance.md
    assert len(os.listdir(worker.job / "output")) == 20_000 == len(worker.report["results"])
    assert (worker.job / ".cumulus.report").stat().st_size < 64_000_000


def test_results_of_a_failed_app_come_back_too(worker: Worker) -> None:
    assert worker.run("echo partial > part; exit 1")["stage"] == "app"
    assert (worker.job / "output" / "part").read_text() == "partial\n"


def test_links_elsewhere_and_devices_are_left_out(worker: Worker) -> None:
    (worker.data / "secret").write_text("S")
    links = f"ln -s {worker.data}/secret out; ln -s /etc etc; ln -s nowhere gone; mkfifo pipe; ln -s round round"
    socket = "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'"
    worker.run(f"{links}; {socket}; echo 1 > real; ln -s real inside; mkdir dir; ln -s dir todir")
    assert found_below(worker.job / "output") == {"real", "inside", "dir"}
    assert (worker.job / "output" / "inside").read_text() == "1\n"
    assert not (worker.job / "output" / "inside").is_symlink()
    assert "not stored, since they are no files of this job: etc, gone, out, pipe, round, sock, todir" in worker.log


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
def test_finished_results_wait_for_room_and_then_the_run_is_done(worker: Worker) -> None:
    with small_disk(worker.job, "3m"):
        (worker.job / "output").mkdir()
        fill = worker.job / "others"
        fill.write_bytes(bytes(2_000_000))
        worker.order("echo small > small; head -c 2000000 /dev/urandom > big; echo z > z", results_wait_s=60)
        worker.start()
        wait_until((worker.job / ".cumulus.full.results").exists)
        assert found_below(worker.job / "output") == set()
        assert not (worker.job / ".cumulus.result").exists()
        fill.unlink()
        wait_until((worker.job / ".cumulus.result").exists)
        assert (worker.result["stage"], worker.result["message"]) == ("done", "")
        assert found_below(worker.job / "output") == {"small", "big", "z"}
        wait_until(lambda: not (worker.job / ".cumulus.full.results").exists())
        assert "wait on this machine for room, 1 minute at most" in worker.log
        assert worker.log.index("storage is full: the results wait") < worker.log.index("there is room in the storage again")
        assert worker.log.endswith("- done\n")


@needs_root
def test_a_run_on_a_storage_without_a_single_free_byte_lives_and_ends_with_its_whole_log(worker: Worker) -> None:
    with small_disk(worker.job, "3m"):
        (worker.job / "output").mkdir()
        worker.order("echo first; while [ ! -e go ]; do sleep 0.05; done; seq 20000; echo 1 > one", results_wait_s=60)
        worker.start()
        wait_until(lambda: "first" in worker.log and (worker.job / ".cumulus.alive").exists())
        fill(worker.job / "others")
        before = (worker.job / ".cumulus.alive").stat().st_mtime
        (worker.work / "output" / "go").touch()
        wait_until((worker.job / ".cumulus.full.results").exists)
        wait_until(lambda: (worker.job / ".cumulus.alive").stat().st_mtime > before, limit_s=25)
        (worker.job / "others").unlink()
        wait_until((worker.job / ".cumulus.result").exists)
        assert worker.result["stage"] == "done"
        assert worker.lines == ["first", *map(str, range(1, 20001))]
        assert found_below(worker.job / "output") == {"go", "one"}


@needs_root
def test_who_waits_for_room_can_be_stopped(worker: Worker) -> None:
    with small_disk(worker.job, "1m"):
        (worker.job / "output").mkdir()
        worker.order("head -c 2000000 /dev/urandom > big", results_wait_s=600)
        worker.start()
        wait_until((worker.job / ".cumulus.full.results").exists)
        (worker.job / ".cumulus.stop").touch()
        wait_until((worker.job / ".cumulus.result").exists)
        assert worker.result["stage"] == "stopped"
        wait_until(lambda: worker.status() == "idle")


@needs_root
def test_after_the_wait_all_that_fits_is_stored_and_the_rest_is_named(worker: Worker) -> None:
    with small_disk(worker.job, "1m"):
        (worker.job / "output").mkdir()
        result = worker.run("echo a > a; head -c 2000000 /dev/urandom > big; echo z > z", results_wait_s=1)
        assert (result["stage"], result["exit_code"]) == ("results", 0)
        assert "1 of the results could not be stored: big (the storage is full); the others are there (2)" in result["message"]
        assert found_below(worker.job / "output") == {"a", "z"}


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
