"""How fast a file comes by the client to a controller, beside `curl -T` to nginx, in turns: on the same disk, over loopback.

nginx keeps what comes as it is. Cumulus computes a SHA-256 on both sides, and answers a part once it is on the disk.
"""

import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.bench.measuring import HOMES, Options, computer, keep_results, peak_mb, say, timed, until, write

HOME = HOMES / "uploads"
MB = 1 << 20
FILE_MB = 2000
ROUNDS = 3
TARGET = 0.7
CLIENT = """
import sys, httpx
from pathlib import Path
from cumulus_client.uploads import Notes, Uploader
with httpx.Client(base_url=sys.argv[1], headers={"X-User": "ada"}, trust_env=False) as http:
    Uploader(http, Notes(Path(sys.argv[3]))).send(Path(sys.argv[2]))
"""
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; user root;
events {{ worker_connections 100; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; location / {{ dav_methods PUT; }} }}
}}
"""


def main(_: Options) -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    source = HOME / "run.raw"
    make(source)
    took: dict[str, list[float]] = {"nginx": [], "cumulus": []}
    with nginx(HOME / "nginx") as put, controller(HOME / "own") as (send, process):
        for number in range(ROUNDS + 1):
            for name, act in (("nginx", put), ("cumulus", send)):
                os.sync()
                seconds = timed(lambda act=act: act(source))  # type: ignore[misc]
                say(f"{name}: {FILE_MB / seconds:.0f} MB/s" + (" (not counted)" if number == 0 else ""))
                if number:
                    took[name].append(seconds)
        peak = peak_mb(process.pid)
    shutil.rmtree(HOME)
    rates = {name: [FILE_MB / seconds for seconds in values] for name, values in took.items()}
    share = statistics.median(own / other for own, other in zip(rates["cumulus"], rates["nginx"], strict=True))
    keep_results("uploads", {**rates, "share": share, "peak_mb": peak})
    write("uploads", report(rates, share, peak))


def make(path: Path) -> None:
    """A file whose every megabyte is another."""
    with path.open("wb") as file:
        for number in range(FILE_MB):
            file.write(hashlib.sha256(str(number).encode()).digest() * (MB // 32))


def report(rates: dict[str, list[float]], share: float, peak: float) -> list[str]:
    """The table."""
    rows = [f"| {what} | {statistics.median(rates[name]):.0f} MB/s | – |" for name, what in NAMES.items()]
    return [
        f"{computer()}.",
        "",
        f"| a file of {FILE_MB / 1000:.0f} GB, {ROUNDS} rounds in turn | median | target |",
        "|---|---|---|",
        *rows,
        f"| **share, the median of the rounds** | **{share:.2f}** | ≥ {TARGET} |",
        f"| most memory of the controller | {peak:.0f} MB | flat |",
    ]


NAMES = {"nginx": "`curl -T` to nginx", "cumulus": "`cumulus_client.uploads` to Cumulus"}


@contextmanager
def nginx(folder: Path) -> Iterator[Callable[[Path], None]]:
    """An nginx of its own that takes files by PUT: sends one by curl, which is removed then."""
    (folder / "files").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    child = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), 10)

        def put(source: Path) -> None:
            command = ["curl", "-sS", "-f", "-T", str(source), f"http://127.0.0.1:{port}/run.raw"]
            subprocess.run(command, check=True)
            (folder / "files" / "run.raw").rename(folder / "files" / "old.raw")

        yield put
    finally:
        child.terminate()
        child.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def controller(folder: Path) -> Iterator[tuple[Callable[[Path], None], psutil.Process]]:
    """A controller that takes uploads: sends it a file by the client, and the process."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.services.uploads.serving", str(folder), "0"]
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    assert child.stdout is not None
    url = f"http://127.0.0.1:{int(child.stdout.readline())}"
    placed = folder / "home" / "storage" / "data" / "run.raw"

    def send(source: Path) -> None:
        subprocess.run([sys.executable, "-c", CLIENT, url, str(source), str(folder / "notes")], check=True)
        placed.rename(folder / "old.raw")

    try:
        yield send, psutil.Process(child.pid)
    finally:
        child.kill()
        child.communicate()
