"""The worst requests that each route of a controller allows, and an installation in which they are at their worst.

docs/performance.md lists what they cost; tests/api/test_worst.py bounds it.
"""

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from server.db.models import Job
from server.db.transactions import exclusive
from server.db.transitions import Change, create
from server.states import JobState

MB = 1 << 20
MOST = 20 * MB
BOUNDARY = "b"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
URLENCODED = "application/x-www-form-urlencoded"
FIELD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
START = {"username": "ada", "app_name": "probe_1.0", "strategy": "m1.4xlarge", "workflow_name": "", "start_after_id": ""}
FORM = {"text": "t", "seconds": "0", "outcome": "ok"}


@dataclass(frozen=True)
class Installation:
    """How much there is: jobs, results of one of them, shared files."""

    jobs: int = 20_000
    results: int = 100_000
    shared: int = 100_000


@dataclass(frozen=True)
class Worst:
    """A request: what makes it bad, and its bytes."""

    name: str
    request: bytes


def get(target: str, header: bytes = b"") -> bytes:
    """A request for an answer on a connection of its own."""
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n".encode() + header + b"\r\n"


def post(target: str, **fields: str) -> bytes:
    """A form as the client sends it."""
    parts = (FIELD.replace(b'"a"', f'"{name}"'.encode()) + text.encode() + b"\r\n" for name, text in fields.items())
    return raw_post(target, b"".join(parts) + b"--b--\r\n")


def raw_post(target: str, body: bytes, kind: str = MULTIPART) -> bytes:
    """Any body as a form."""
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    return f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def worst_requests(shown: int) -> list[Worst]:
    """All of them. ``shown``: the job with the many results."""
    return [*_lists(shown), *_searches(), *_bodies(), *_files(), *_submissions(), *_others()]


def _lists(shown: int) -> list[Worst]:
    return [
        Worst("/joblist: a job with 10⁵ results, and 1000 rows", get(f"/joblist/{shown}/1000")),
        Worst("/joblist: all jobs", get("/joblist/0/-1")),
    ]


def _searches() -> list[Worst]:
    texts = dict.fromkeys(("owner", "app", "description", "file"), "ab" * 500)
    days = {"from": "2000-01-01", "to": "2099-01-01"}
    return [
        Worst("/search: four texts of 1000 characters", post("/search", **texts)),
        Worst("/search: a phrase that many jobs nearly have", post("/search", description="a" * 999 + "b", number="-1")),
        Worst("/search: two letters that no job has, all dates", post("/search", description="éÉ", number="-1", **days)),
        Worst("/search: a text of 20 MiB", post("/search", owner="x" * (MOST - 500))),
    ]


def _bodies() -> list[Worst]:
    return [
        Worst("any form: 10⁷ fields", raw_post("/search", b"a&" * (MOST // 2), URLENCODED)),
        Worst("any form: 7 · 10⁶ escapes", raw_post("/search", b"owner=" + b"%41" * (MOST // 3), URLENCODED)),
        Worst("any form: 10⁵ parts", raw_post("/search", (FIELD + b"\r\n") * 100_000)),
        Worst("any form: a part with a header of 20 MiB", raw_post("/search", b"--b\r\nX: " + b"a" * MOST)),
        Worst("any form: 7 · 10⁶ ends of lines", raw_post("/search", FIELD + b"\r\n-" * (MOST // 3))),
    ]


def _files() -> list[Worst]:
    many = json.dumps(["many.d"] * 10_000)
    return [
        Worst("/getfilecontent: a folder of 10⁵ files, 10⁴ times", post("/getfilecontent", names=many)),
        Worst("/getfilecontent: 10⁷ numbers", post("/getfilecontent", names="[" + "1," * (MOST // 2 - 1000) + "1]")),
        Worst("/getfilecontent: 2 · 10⁷ brackets", post("/getfilecontent", names="[" * (MOST - 1000))),
        Worst("/storage: 10⁵ shared files", get("/storage")),
        Worst("/getfile: a name of 30 KB", get("/getfile/ada/" + "%2541/" * 5000)),
        Worst("/getfile: 7000 ranges", get("/getfile/ada/one.raw", b"Range: bytes=" + b"0-1," * 7000 + b"2-3\r\n")),
    ]


def _submissions() -> list[Worst]:
    names = json.dumps({f"{number:x}": {} for number in range(100_000)})
    files = json.dumps({**FORM, "inputs": [f"/a/{number}.raw" for number in range(10_000)]})
    return [
        Worst("/start: settings of 20 MiB", post("/start", **START, settings="x" * (MOST - 2000))),
        Worst("/start: 1.5 · 10⁵ empty lists", post("/start", **START, settings='{"text": [' + "[]," * 149_000 + "[]]}")),
        Worst("/start: 10⁵ names", post("/start", **START, settings=names)),
        Worst("/start: 10⁴ files", post("/start", **START, settings=files)),
        Worst("/fail: a message of 20 MiB", post("/fail", job_id="1", error_message="x" * (MOST - 2000))),
    ]


def _others() -> list[Worst]:
    return [
        Worst("/apps", get("/apps")),
        Worst("/metrics", get("/metrics")),
        Worst("any route: 2000 cookies", get("/config", b"Cookie: a=b\r\n" * 2000)),
        Worst("no route: 30 KB of slashes", get("/" * 30_000)),
    ]


def fill(storage: Path, size: Installation) -> int:
    """Make it, with the database bound; gives the job with the many results."""
    data, jobs = storage / "data" / "many.d", storage / "jobs"
    for number in range(size.shared):
        if number % 1000 == 0:
            folder = data / f"{number // 1000}"
            folder.mkdir(parents=True)
        (folder / f"spectrum-{number}").touch()
    (storage / "data").mkdir(parents=True, exist_ok=True)
    (storage / "data" / "one.raw").write_bytes(b"x" * 1000)
    output = jobs / "Job_1" / "output"
    for number in range(size.results):
        if number % 1000 == 0:
            folder = output / f"part-{number // 1000}"
            folder.mkdir(parents=True)
        (folder / f"a-result-of-some-length-{number}.tsv").touch()
    with exclusive():
        for number in range(1, size.jobs + 1):
            create(
                Job, Change(time.time()), owner=f"owner{number % 50}", app="probe_1.0", flavor="m1.4xlarge", weight=1,
                description="a" * 900 if number % 20 == 0 else f"run {number}", settings="{}", inputs=f"sample-{number}.raw",
                folder=f"Job_{number}", state=JobState.DONE, ended=time.time(),
            )  # fmt: skip
    return 1


def sent(port: int, request: bytes, timeout_s: float = 120.0) -> tuple[bytes, float]:
    """The answer and how long it took, seconds."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout_s) as one:
        one.sendall(request)
        answer = b"".join(iter(lambda: one.recv(1 << 20), b""))
    return answer, time.perf_counter() - began
