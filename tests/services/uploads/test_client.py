"""The client over lines that break, to a server that is killed."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from cumulus_client.uploads import Notes, Uploader, UploadFailed
from server.app import Controller
from server.db.models import Upload
from tests.conftest import eventually
from tests.services.uploads.conftest import waiting_job
from tests.services.uploads.lines import line_to
from tests.services.uploads.tus import Tus

MB = 1 << 20
ROOM_MB = 40  # that the server may take more for a file of any size


def uploader(port: int | str, folder: Path, **more: object) -> Uploader:
    url = port if isinstance(port, str) else f"http://127.0.0.1:{port}"
    http = httpx.Client(base_url=url, headers={"X-User": "ada"}, trust_env=False)
    return Uploader(http, Notes(folder / "notes"), **more)  # type: ignore[arg-type]


def made(path: Path, size: int) -> str:
    """A file of that size whose every megabyte is another; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(0, size, MB):
            piece = hashlib.sha256(str(number).encode()).digest() * (MB // 32)
            file.write(piece[: size - number])
            digest.update(piece[: size - number])
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("size", [0, 1, 12, 8 * MB, 8 * MB + 1, 20 * MB + 7])
def test_files_of_any_size_arrive(url: str, controller: Controller, tmp_path: Path, size: int) -> None:
    digest = made(tmp_path / "run.raw", size)
    seen: list[tuple[int, int]] = []
    sent = uploader(url, tmp_path).send(tmp_path / "run.raw", advance=lambda done, total: seen.append((done, total)))
    assert (sent.place, sent.sha256, sent.length) == ("data/run.raw", digest, size)
    assert sha256_of(controller.storage.data / "run.raw") == digest
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)
    assert not list((tmp_path / "notes").glob("*"))


def test_it_arrives_over_a_line_that_breaks_all_the_time(url: str, controller: Controller, tmp_path: Path) -> None:
    digest = made(tmp_path / "run.raw", 30 * MB)
    with line_to(url, 3 * MB) as line:
        uploader(line.own_port, tmp_path, sleep=lambda _s: time.sleep(0.01)).send(tmp_path / "run.raw")
        assert line.cuts >= 9
    assert sha256_of(controller.storage.data / "run.raw") == digest
    assert Upload.select().count() == 1


def test_a_job_starts_with_its_files_and_with_no_others(url: str, controller: Controller, tmp_path: Path) -> None:
    job = waiting_job(controller, "a.txt", "b.txt")
    folder = controller.storage.folder(job.folder)
    for name in ("a.txt", "b.txt"):
        assert not folder.has_arrived()
        (tmp_path / name).write_text(name)
        uploader(url, tmp_path).send(tmp_path / name, job=job.id)
    assert folder.has_arrived()


def test_a_second_run_continues_where_the_first_was_ended(url: str, controller: Controller, tmp_path: Path) -> None:
    digest = made(tmp_path / "run.raw", 30 * MB)

    def give_up(_s: float) -> None:
        raise KeyboardInterrupt

    with line_to(url, 12 * MB) as line:
        with pytest.raises(KeyboardInterrupt):
            uploader(line.own_port, tmp_path, sleep=give_up).send(tmp_path / "run.raw")
        eventually(lambda: Upload.get().received > 10 * MB)
        line.cut_bytes = float("inf")
        seen: list[int] = []
        sent = uploader(line.own_port, tmp_path).send(tmp_path / "run.raw", advance=lambda done, _total: seen.append(done))
    assert seen[0] > 10 * MB
    assert sent.sha256 == digest
    assert Upload.select().count() == 1


def test_a_file_that_was_changed_between_two_runs_begins_anew(url: str, controller: Controller, tmp_path: Path) -> None:
    path = tmp_path / "run.raw"
    made(path, 30 * MB)
    before = path.stat()

    def give_up(_s: float) -> None:
        raise KeyboardInterrupt

    with line_to(url, 12 * MB) as line:
        with pytest.raises(KeyboardInterrupt):
            uploader(line.own_port, tmp_path, sleep=give_up).send(path)
        line.cut_bytes = float("inf")
        with path.open("r+b") as file:
            file.write(b"another beginning")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # so that nothing shows it
        sent = uploader(line.own_port, tmp_path).send(path)
    assert sent.sha256 == sha256_of(path) == sha256_of(controller.storage.data / "run.raw")


def test_a_file_that_is_written_while_it_is_sent_is_not_taken(url: str, controller: Controller, tmp_path: Path) -> None:
    path = tmp_path / "run.raw"
    made(path, 20 * MB)

    def write(done: int, _total: int) -> None:
        if done:
            with path.open("r+b") as file:
                file.write(os.urandom(8))

    with pytest.raises(UploadFailed, match=r"run\.raw was changed while it was sent"):
        uploader(url, tmp_path).send(path, advance=write)
    assert not list(controller.storage.data.iterdir())


def test_what_the_server_refuses_is_said_in_its_words(url: str, controller: Controller, tmp_path: Path) -> None:
    (controller.storage.data / "run.raw").write_text("another")
    made(tmp_path / "run.raw", 100)
    with pytest.raises(UploadFailed, match="another file called run") as caught:
        uploader(url, tmp_path).send(tmp_path / "run.raw")
    assert (caught.value.code, caught.value.status) == ("name_taken", 409)
    with pytest.raises(UploadFailed, match="no job 99"):
        uploader(url, tmp_path).send(tmp_path / "run.raw", job=99)


def test_it_gives_up_when_nothing_comes_through_for_long(tmp_path: Path) -> None:
    made(tmp_path / "run.raw", 100)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    with pytest.raises(UploadFailed, match="nothing could be sent for 600 s"):
        uploader(port, tmp_path, clock=lambda: now[0], sleep=sleep).send(tmp_path / "run.raw")
    assert 600 < sum(pauses) < 700
    assert max(pauses) <= 30


def test_a_beginning_whose_answer_is_lost_is_found_again(
    url: str, controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = waiting_job(controller, "run.raw")
    made(tmp_path / "run.raw", 100)
    tus = Tus(url)
    tus.begun(100, filename="run.raw", job=str(job.id))  # an answer that never reached its client
    assert uploader(url, tmp_path).send(tmp_path / "run.raw", job=job.id).place == "data/run.raw"
    assert Upload.select().count() == 1


@contextmanager
def own_server(folder: Path, port: int = 0) -> Iterator["tuple[subprocess.Popen[str], int]"]:
    """A server as a process: it and its port."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.services.uploads.serving", str(folder), str(port)]
    with (folder / "log").open("a") as log:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line, (folder / "log").read_text()[-3000:]
        yield child, int(line)
    finally:
        child.kill()
        child.communicate()


@pytest.mark.system
def test_a_server_that_is_killed_amid_a_part_loses_nothing_that_counted(tmp_path: Path) -> None:
    size = 400 * MB
    digest = made(tmp_path / "run.raw", size)
    done: list[str] = []
    with own_server(tmp_path / "own") as (child, port):
        seen: list[int] = []
        sender = uploader(port, tmp_path, sleep=lambda _s: time.sleep(0.05))

        def send() -> None:
            done.append(sender.send(tmp_path / "run.raw", advance=lambda now, _total: seen.append(now)).sha256)

        thread = threading.Thread(target=send)
        thread.start()
        eventually(lambda: len(seen) > 3)
        partial = tmp_path / "own" / "home" / "storage" / ".cumulus.uploads"
        at_kill = seen[-1]
        eventually(lambda: sum(one.stat().st_size for one in partial.iterdir()) > at_kill + MB)  # amid the next part
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with own_server(tmp_path / "own", port):
        thread.join(120)
        assert done == [digest]
        assert sha256_of(tmp_path / "own" / "home" / "storage" / "data" / "run.raw") == digest
    assert size > at_kill


def arrives_flat(folder: Path, size: int, cut_bytes: float) -> tuple[float, int]:
    """How many MB the server takes more at most for a file of that size over a line that is cut so often; the cuts."""
    digest = made(folder / "run.raw", size)
    with own_server(folder / "own") as (child, port), line_to(f"http://127.0.0.1:{port}", cut_bytes) as line:
        (folder / "small.raw").write_bytes(b"x" * 20 * MB)
        uploader(port, folder).send(folder / "small.raw")
        before = psutil.Process(child.pid).memory_info().rss / MB
        uploader(line.own_port, folder, sleep=lambda _s: time.sleep(0.01)).send(folder / "run.raw")
        peak = next(text for text in Path(f"/proc/{child.pid}/status").read_text().splitlines() if text.startswith("VmHWM"))
        assert sha256_of(folder / "own" / "home" / "storage" / "data" / "run.raw") == digest
        return int(peak.split()[1]) / 1024 - before, line.cuts


@pytest.mark.system
def test_three_hundred_megabytes_over_a_line_that_breaks_arrive_whole_and_take_no_memory(tmp_path: Path) -> None:
    grown, cuts = arrives_flat(tmp_path, 300 * MB, 17 * MB + 5)
    assert cuts >= 15
    assert grown < ROOM_MB


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_gigabytes_over_a_line_that_breaks_arrive_whole_and_take_no_memory(tmp_path: Path) -> None:
    try:
        grown, cuts = arrives_flat(tmp_path, 10_000 * MB, 500 * MB + 5)
        assert cuts >= 19
        assert grown < ROOM_MB
    finally:
        for path in tmp_path.rglob("*.raw"):
            path.unlink()
