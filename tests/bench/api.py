"""What an answer costs: requests a second and latencies of the routes that clients ask all the time, among few and many jobs.

*reusable*: nothing changes meanwhile. *changing*: another process archives a job every 50 ms, as the controller would.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from urllib.parse import quote, urlsplit

from cumulus_client.client import Cumulus
from cumulus_client.logs import LOG, LogQuery
from server.client import Client
from server.db.connection import open_database
from server.services.account_services import AccountServices
from server.services.accounts.authentication import Authenticator
from server.services.accounts.users import NewUser
from server.services.principal import Principal
from server.settings import CHECKOUT, CloudName, Settings
from tests.bench.load import Order, Seen
from tests.bench.measuring import HOMES, Options, computer, controller, keep_results, peak_mb, say, timed, write
from tests.bench.rows import fill

HOME = HOMES / "api"
MANY, FEW = 100_000, 10
ROUNDS = 3
SECONDS = 1.2
MAX_ANSWERS = 20_000
CHECKS, CHECK_TARGET_MS = 2000, 0.2
FORM = ("current_job_id", "owner", "app", "description", "file", "number", "date", "from", "to")
GIVEN = {"current_job_id": "0", "app": "all", "number": "100", "date": "creation_date"}
RATE_TARGETS = {"reusable": 1000, "changing": 300}
P99_TARGET_MS = 20
NAMES = {"reusable": "given again, median", "changing": "among changes, p99"}
QUANTILES = {"reusable": 0.5, "changing": 0.99}  # among changes, most answers are reused all the same: look at those that are not


@dataclass
class Figures:
    """Answers a second with eight connections; latencies (milliseconds) with four; the generator's share of a core."""

    rates: list[float] = field(default_factory=list)
    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    generator: list[float] = field(default_factory=list)
    size: int = 0

    def add(self, eight: Seen, four: Seen) -> None:
        """One more round."""
        self.rates.append(eight.rate)
        self.p50s.append(1000 * four.quantile(0.5))
        self.p99s.append(1000 * four.quantile(0.99))
        self.generator.append(eight.cpu_s / eight.seconds)
        self.size = eight.size


def main(options: Options) -> None:
    """Measure, print the tables and write them down."""
    shutil.rmtree(HOME, ignore_errors=True)
    few_ms = alone(_settings(FEW))
    settings = _settings(MANY)
    say(f"Making {MANY} jobs")
    shown = fill(settings, MANY)
    token = make_token(settings)
    with served(settings) as (port, pid):
        figures = measure(settings, port, {**requests(shown), **v1_requests(port, shown, token)})
        check_ms = token_check_ms(settings, token)
        many_ms = latencies_ms(settings, port, shown[0])
        Client(f"http://127.0.0.1:{port}").jobs(-1)
        memory_mb = peak_mb(pid)
    report(figures, few_ms, many_ms, memory_mb, check_ms)


def alone(settings: Settings) -> dict[str, float]:
    """The latencies among few jobs."""
    shown = fill(settings, FEW)
    with served(settings) as (port, _):
        return latencies_ms(settings, port, shown[0])


def _settings(jobs: int) -> Settings:
    return Settings(home=HOME / str(jobs), cloud=CloudName.LOCAL, apps=CHECKOUT / "tests" / "apps")


@contextmanager
def served(settings: Settings) -> Iterator[tuple[int, int]]:
    """A controller on these rows: its port and its process."""
    own = {"CUMULUS_HOME": str(settings.home), "CUMULUS_CLOUD": "local", "CUMULUS_APPS": str(settings.apps)}
    own["CUMULUS_SUBMISSIONS_PER_MINUTE"] = "0"
    with controller(settings.home, {**os.environ, **own}) as (url, process):
        yield urlsplit(url).port or 0, process.pid


@contextmanager
def changes(settings: Settings, kind: str) -> Iterator[None]:
    """Another process at work on the rows, if the kind of measurement asks for it."""
    if kind != "changing":
        yield
        return
    writer = subprocess.Popen([sys.executable, "-m", "tests.bench.rows", str(settings.database)], cwd=CHECKOUT)
    try:
        yield
        if writer.poll() is not None:
            raise RuntimeError("the process that changes jobs ended early")
    finally:
        writer.terminate()
        writer.wait()


def measure(settings: Settings, port: int, asked: dict[str, list[str]]) -> dict[tuple[str, str], Figures]:
    """All routes in both kinds, in rounds, so that a noisy minute spoils no figure alone."""
    figures = {(kind, route): Figures() for kind in RATE_TARGETS for route in asked}
    for number in range(ROUNDS):
        say(f"Round {number + 1} of {ROUNDS}")
        for kind, route in figures:
            with changes(settings, kind):
                figures[kind, route].add(*(load(port, asked[route], connections) for connections in (8, 4)))
    return figures


def latencies_ms(settings: Settings, port: int, job_id: int) -> dict[str, float]:
    """The latency of a list of ten with one connection, milliseconds: of one given again, and of one made anew."""
    found = {}
    for kind in RATE_TARGETS:
        with changes(settings, kind):
            seen = load(port, [get(f"/joblist/{job_id}/10")], 1)
        found[kind] = 1000 * seen.quantile(QUANTILES[kind])
    return found


def load(port: int, texts: list[str], connections: int) -> Seen:
    """Load from a process of its own."""
    return ordered(Order(port, texts, connections, SECONDS, MAX_ANSWERS))


def ordered(order: Order) -> Seen:
    """The load that is ordered, from a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(order)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=CHECKOUT,
        timeout=60 + order.seconds,
    )
    return Seen(**json.loads(child.stdout))


def requests(shown: list[int]) -> dict[str, list[str]]:
    """What each connection asks, by route; several connections ask different things."""
    return {
        "/joblist/ID/100": [get(f"/joblist/{job_id}/100") for job_id in shown],
        "/search": [search()],
        "/search by owner": [search(owner=owner) for owner in ("akeller", "MARTIN", "pweiss", "durand")],
        "/search by text": [
            search(description="label_free"),
            search(description="étude q"),
            search(file="ARTIN"),
            search(app="sage"),
        ],
        "/search by date": [
            search(date="creation_date", **days(400, 370)),
            search(date="end_date", **days(200, 193)),
            search(date="start_date", **days(500, 300)),
        ],
        "/info": [get("/info")],
        "//apps": [get("//apps")],
    }


def v1_requests(port: int, shown: list[int], token: str) -> dict[str, list[str]]:
    """The same of /api/v1 with a token: the list of 100, a job, and what its log has gained since its end."""
    caller = Cumulus.at(f"http://127.0.0.1:{port}", token).caller
    ends = {number: quote(caller.call(LOG, LogQuery(job=number)).cursor) for number in shown}
    return {
        "/api/v1/jobs?limit=100": [get("/api/v1/jobs?limit=100", token)],
        "/api/v1/jobs/ID": [get(f"/api/v1/jobs/{number}", token) for number in shown],
        "/api/v1/jobs/ID/log?cursor=…": [get(f"/api/v1/jobs/{number}/log?cursor={ends[number]}", token) for number in shown],
    }


def make_token(settings: Settings) -> str:
    """A token of an administrator, who sees everybody's jobs, as the desktop routes' lists have."""
    database = open_database(settings.database)
    services, admin = AccountServices(settings), Principal.local_admin("bench")
    services.users.create(admin, NewUser("bench", role="admin"))
    made = services.tokens.create(admin, "bench", ["admin"], owner="bench")
    database.close()
    return made.text


def token_check_ms(settings: Settings, token: str) -> float:
    """What it takes to know who has a token, in a process of its own on the same rows, milliseconds: the median."""
    database = open_database(settings.database)
    accounts = Authenticator(time.time)
    took = [timed(lambda: accounts.by_token(token)) for _ in range(CHECKS)]
    database.close()
    return 1000 * statistics.median(took)


def days(first: int, last: int) -> dict[str, str]:
    """From and to, given as days before today."""
    return {
        name: time.strftime("%Y-%m-%d", time.localtime(time.time() - ago * 86400))
        for name, ago in (("from", first), ("to", last))
    }


def get(target: str, token: str = "") -> str:
    """A request as the client writes it; with a token."""
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n"


def search(**form: str) -> str:
    """A search as the client's form sends it."""
    return form_request("/search", dict.fromkeys(FORM, "") | GIVEN | form)


def form_request(target: str, fields: Mapping[str, str]) -> str:
    """A form as the client sends it."""
    parts = [f'--BOUNDARY\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    body = "".join(parts) + "--BOUNDARY--\r\n"
    kind = "Content-Type: multipart/form-data; boundary=BOUNDARY"
    return f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}"


def report(
    figures: dict[tuple[str, str], Figures],
    few_ms: dict[str, float],
    many_ms: dict[str, float],
    memory_mb: float,
    check_ms: float,
) -> None:
    """The figures as tables."""
    generator = statistics.median(share for one in figures.values() for share in one.generator)
    lines = [
        f"{computer()}, load {os.getloadavg()[0]:.1f}, {MANY:,} jobs. "
        f"The load generator took {100 * generator:.0f} % of one of these cores.",
        "",
        "| route | kind | bytes | requests/s | target | p50 ms | p99 ms | target |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(kind, route, one) for (kind, route), one in figures.items()),
        "",
        f"| /joblist/ID/10, one connection | {FEW} jobs | {MANY:,} jobs | ratio |",
        "|---|---|---|---|",
        *(
            f"| {NAMES[kind]} | {few_ms[kind]:.2f} ms | {many_ms[kind]:.2f} ms | {many_ms[kind] / few_ms[kind]:.2f} |"
            for kind in few_ms
        ),
        "",
        f"The controller's memory peaked at {memory_mb:.0f} MB (target ≤ 150 MB), with one list of all jobs among the requests. "
        f"A token was checked in {check_ms:.3f} ms (target ≤ {CHECK_TARGET_MS}).",
    ]
    write("api", lines)
    keep_results(
        "api",
        {
            "routes": {f"{route} {kind}": asdict(one) for (kind, route), one in figures.items()},
            "few_ms": few_ms,
            "many_ms": many_ms,
            "peak_mb": memory_mb,
            "token_check_ms": check_ms,
        },
    )


def _row(kind: str, route: str, one: Figures) -> str:
    rate, p50, p99 = (statistics.median(values) for values in (one.rates, one.p50s, one.p99s))
    return (
        f"| {route} | {kind} | {one.size:,} | {rate:.0f} | ≥ {RATE_TARGETS[kind]} | {p50:.1f} | {p99:.1f} | ≤ {P99_TARGET_MS} |"
    )
