"""Many clients at once: three hundred with a token that look every two seconds while jobs run, and a rush of submissions.

*watching*: each client asks for the list, for its job or for what that job's log has gained. *submitting*: eight clients submit
one job after the other, by the desktop route, while others poll the newest hundred; each answered job must be there in the end.
"""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from server.client import Client
from server.db.connection import open_database
from server.db.models import Job
from server.settings import CHECKOUT, CloudName, Settings
from server.states import JobState
from server.storage.folders import Storage
from tests.bench.api import form_request, get, make_token, ordered
from tests.bench.lives import APP, form
from tests.bench.load import Order, Seen
from tests.bench.measuring import HOMES, Options, computer, controller, keep_results, peak_mb, say, until, write

HOME = HOMES / "clients"
FLAVORS = "NAME\tWEIGHT\tCPU\tRAM\nm1.4xlarge\t1\t1\t1\nMAX_ACCUMULATED_WEIGHT = {at_once}\n"
AT_WORK, JOB_S = 20, 120
WATCHERS, PAUSE_S, WATCHED_S = 300, 2.0, 30.0
SUBMITTERS, SUBMISSIONS, POLLS_A_SECOND = 8, 10_000, 80
POLLERS, POLLED_S = 16, 5.0
LONGEST_S = 400.0
WATCH_TARGET_MS, SUBMIT_TARGET, SUBMIT_TARGET_MS = 50, 150, 150


def main(options: Options) -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    (HOME / "flavors.tsv").write_text(FLAVORS.format(at_once=AT_WORK))
    settings = Settings(home=HOME, cloud=CloudName.LOCAL, apps=CHECKOUT / "tests" / "apps", flavors=HOME / "flavors.tsv")
    own = {"CUMULUS_HOME": str(HOME), "CUMULUS_CLOUD": "local", "CUMULUS_APPS": str(settings.apps)}
    own |= {"CUMULUS_SUBMISSIONS_PER_MINUTE": "0", "CUMULUS_FLAVORS": str(settings.flavors)}
    before = os.getloadavg()[0]
    with controller(HOME, {**os.environ, **own}) as (url, process):
        port, token = urlsplit(url).port or 0, make_token(settings)
        say("Watching")
        watched = watch(settings, Client(url), port, token)
        say("Submitting")
        count = options.lifecycles or SUBMISSIONS
        submitted, polled = submit(port, token, count)
        lost = count - kept(settings, count)
        peak = peak_mb(process.pid)
    shutil.rmtree(HOME)
    figures: dict[str, Any] = {
        "watched_p99_ms": 1000 * watched.quantile(0.99),
        "watched_p50_ms": 1000 * watched.quantile(0.5),
        "submissions_a_second": submitted.rate,
        "submitted_p50_ms": 1000 * submitted.quantile(0.5),
        "submitted_p99_ms": 1000 * submitted.quantile(0.99),
        "polls_a_second": polled.rate,
        "polled_p99_ms": 1000 * polled.quantile(0.99),
        "lost": lost,
        "peak_mb": peak,
        "load_before": before,
    }
    keep_results("clients", figures)
    write("clients", report(figures, len(watched.latencies), count))


def watch(settings: Settings, client: Client, port: int, token: str) -> Seen:
    """The clients' latencies while so many jobs run."""
    storage = Storage(settings.storage)
    jobs = [client.start("bench", APP, settings.default_flavor, form(JOB_S)) for _ in range(AT_WORK)]
    for job in jobs:
        storage.folder(job.folder).mark_arrived()
    database = open_database(settings.database)
    until(lambda: Job.select().where(Job.state == JobState.RUNNING).count() == AT_WORK)
    asked = ["/api/v1/jobs?limit=100"]
    for job in jobs:
        asked += [asked[0], f"/api/v1/jobs/{job.job_id}", f"/api/v1/jobs/{job.job_id}/log"]
    seen = ordered(Order(port, [get(target, token) for target in asked], WATCHERS, WATCHED_S, 1_000_000, PAUSE_S))
    still = Job.select().where(Job.state == JobState.RUNNING).count()
    for job in jobs:
        client.cancel("bench", job.job_id)
    until(lambda: not Job.select().where(Job.state == JobState.RUNNING).exists())
    database.close()
    if still != AT_WORK:
        raise RuntimeError(f"only {still} of {AT_WORK} jobs were still running at the end")
    return seen


def submit(port: int, token: str, count: int) -> tuple[Seen, Seen]:
    """What the submitters and the pollers beside them have seen."""
    fields = {"username": "rush", "app_name": APP, "strategy": "m1.4xlarge", "settings": json.dumps(form(0))}
    rush = Order(port, [form_request("/start", fields)], SUBMITTERS, LONGEST_S, count, warm_share=0.0)
    polls = Order(port, [get("/api/v1/jobs?limit=100", token)], POLLERS, POLLED_S, 1_000_000, POLLERS / POLLS_A_SECOND)
    polled, over = Seen(), Event()

    def poll() -> None:
        while not over.is_set():
            seen = ordered(polls)
            polled.latencies += seen.latencies
            polled.seconds += seen.seconds

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(poll)
        time.sleep(1.0)
        try:
            submitted = ordered(rush)
        finally:
            over.set()
        beside.result()
    polled.latencies.sort()
    return submitted, polled


def kept(settings: Settings, count: int) -> int:
    """How many of the jobs have row and folder."""
    database, storage = open_database(settings.database), Storage(settings.storage)
    rows = Job.select(Job.folder).where(Job.owner == "rush")
    found = sum(storage.folder(row.folder).documents.manifest_path.is_file() for row in rows)
    database.close()
    return min(found, count)


def report(figures: dict[str, Any], looks: int, count: int) -> list[str]:
    """The table."""
    return [
        f"{computer()}, load before {figures['load_before']:.1f}.",
        "",
        "| many clients at once | measured | target |",
        "|---|---|---|",
        f"| {WATCHERS} clients, each every {PAUSE_S:.0f} s, {AT_WORK} jobs at work: median / p99 of {looks:,} answers "
        f"| {figures['watched_p50_ms']:.1f} / {figures['watched_p99_ms']:.1f} ms | p99 ≤ {WATCH_TARGET_MS} ms |",
        f"| {count:,} submissions by {SUBMITTERS} clients, beside {figures['polls_a_second']:.0f} polls/s "
        f"| {figures['submissions_a_second']:.0f}/s | ≥ {SUBMIT_TARGET}/s |",
        f"| their answers, median / p99 | {figures['submitted_p50_ms']:.0f} / {figures['submitted_p99_ms']:.0f} ms "
        f"| p99 ≤ {SUBMIT_TARGET_MS} ms |",
        f"| lost submissions | {figures['lost']} | 0 |",
        f"| the polls' answers meanwhile, p99 | {figures['polled_p99_ms']:.0f} ms | – |",
        f"| the controller's peak memory | {figures['peak_mb']:.0f} MB | ≤ 150 MB |",
    ]
