"""What a job costs on a real OpenStack cloud, beside the cloud's own time: `python -m tests.bench openstack`.

On the cloud of ``OS_CLOUD``, with a template that has a promoted snapshot, as ``tests/openstack/conftest.py`` lists it. Lives of
an app that begins and ends at once, in turns: the raw SDK (openstack_floor.py), Cumulus, and again. What Cumulus adds is counted
in seconds, since the cloud's own time is not Cumulus's to make shorter.
"""

import os
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from server.client import Client
from server.db.connection import open_database
from server.db.settings_store import drain, resume
from server.db.transitions import Change
from server.home.running import nudge
from server.settings import CHECKOUT, Settings, load_settings
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.qemu.network.nfs import NfsServer
from server.workers.clouds.qemu.paths import QemuHome
from tests.bench.jobs import APP_S, NAMES, until_empty
from tests.bench.lives import END, GONE, LINE, MACHINE, CumulusLives
from tests.bench.measuring import HOMES, Figures, Options, computer, controller, keep_results, say, write
from tests.bench.openstack_floor import OpenstackFloor

HOME = HOMES / "openstack"
ROUNDS = 7
TARGET_S = 3.0
PATIENT = {"CREATE_TIMEOUT_S": "900", "STARTING_TIMEOUT_S": "1200", "MIN_FREE_GB": "0"}
# Where a life of Cumulus goes: each step from the one before.
PATH = (
    ("submission (REST, row, folder)", "submitted"),
    ("the loop sees it: a worker's row", "a worker's row"),
    ("orders are written", "worker creating"),
    ("quota and snapshot are asked, terraform makes the machine", MACHINE),
    ("it boots, and the app's first line is there", LINE),
    ("the app runs", "the app's end"),
    ("its end is seen", END),
    ("the loop begins to remove the machine", "worker deleting"),
    ("terraform removes it, the cloud is asked whether all is gone", GONE),
)
PHASES = (
    ("until the server is ACTIVE", "", MACHINE),
    ("from there to the app's first line", MACHINE, LINE),
    ("the app, until its end is seen", LINE, END),
    ("from there until all is gone", END, GONE),
)


def main(options: Options) -> None:
    """Measure, print the tables and write them down. ``options.lifecycles``: rounds, where it is not 0."""
    floor, own = Figures(), Figures()
    with running() as (settings, client):
        bare = OpenstackFloor.of(settings, settings.home / "openstack" / "key")
        lives = CumulusLives(client, settings)
        for one in (bare, lives):  # caches, terraform init
            one.lives(1, APP_S)
        for turn in range(options.lifecycles or ROUNDS):
            say(f"OpenStack, round {turn + 1} of {options.lifecycles or ROUNDS}")
            floor.add_all(bare.lives(1, APP_S)[0])
            own.add_all(lives.lives(1, APP_S)[0])
            say(f"  floor {floor.values[GONE][-1]:.1f} s, Cumulus {own.values[GONE][-1]:.1f} s")
    lines = report(floor, own)
    write("openstack", lines)
    keep_results("openstack", {"lives": {"floor 1": floor.values, "Cumulus 1": own.values}})


@contextmanager
def running() -> Iterator[tuple[Settings, Client]]:
    """A controller on the cloud, with the storage's NFS server beside it; nothing of it is left in the cloud."""
    address = told("ADDRESS")
    storage = HOME / "storage"
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    flavor = told("FLAVOR")
    (HOME / "flavors.tsv").write_text(f"NAME\tWEIGHT\tCPU\tRAM\n{flavor}\t1\t1\t1\nMAX_ACCUMULATED_WEIGHT = 4\n")
    public = ensure_key(HOME / "openstack" / "key")
    nfs = NfsServer(QemuHome(HOME), "site", storage / "data", storage / "jobs", user=os.getuid(), address=address)
    given = {
        "HOME": str(HOME),
        "CLOUD": "openstack",
        "APPS": str(CHECKOUT / "tests" / "apps"),
        "FLAVORS": str(HOME / "flavors.tsv"),
        "DEFAULT_FLAVOR": flavor,
        "WORKER_DISK_GB": told("DISK_GB"),
        "OPENSTACK_CLOUD": os.environ["OS_CLOUD"],
        "OPENSTACK_NETWORK": told("NETWORK"),
        "OPENSTACK_SECURITY_GROUP": told("GROUP"),
        "OPENSTACK_USER": told("USER"),
        "OPENSTACK_TEMPLATE": told("TEMPLATE"),
        "OPENSTACK_NFS_HOST": address,
        "OPENSTACK_NFS_PORT": str(nfs.start()),
        "OPENSTACK_KEY_PAIR": f"cumulus-bench-{os.getpid()}",
        **PATIENT,
    }
    os.environ.update({f"CUMULUS_{name}": value for name, value in given.items()})
    settings = load_settings()
    try:
        with key_pair(settings, public), controller(HOME) as (url, _):
            database = open_database(settings.database)
            resume(Change(time.time()))
            nudge(settings.home)
            yield settings, Client(url)
            drain("the measurement is over", Change(time.time()))
            nudge(settings.home)
            until_empty()
            database.close()
    finally:
        nfs.stop()


@contextmanager
def key_pair(settings: Settings, public: str) -> Iterator[None]:
    """For machines that take keys from the cloud only."""
    access, name = Access(settings), settings.openstack_key_pair
    with access.use() as cloud:
        cloud.compute.create_keypair(name=name, public_key=public)
    try:
        yield
    finally:
        with access.use() as cloud:
            cloud.compute.delete_keypair(name)


def told(name: str) -> str:
    """One of the variables that tests/openstack/conftest.py lists. Raises RuntimeError where it is missing."""
    variable = f"TEST_OPENSTACK_{name}"
    if not (value := os.environ.get(variable)) or not os.environ.get("OS_CLOUD"):
        raise RuntimeError(f"{variable} or OS_CLOUD is not set: see tests/openstack/conftest.py")
    return value


def report(floor: Figures, own: Figures) -> list[str]:
    """Both side by side, what Cumulus adds, where its life goes."""
    runs = len(own.values[GONE])
    return [
        f"{computer()}, load {os.getloadavg()[2]:.1f}; all of the cloud on the same computer, guests emulated.",
        "",
        "| one job, from nothing (submit) | raw SDK | Cumulus | ratio | added | target |",
        "|---|---|---|---|---|---|",
        *(_compared(step, floor, own) for step in (MACHINE, LINE, END, GONE)),
        "",
        f"Median / p90 of {runs} lives each in seconds, in turns; the app sleeps {APP_S:g} s. *added*: median (least to most) of"
        " what Cumulus took longer than the raw SDK in the same round.",
        "",
        "| phase | raw SDK | Cumulus | added |",
        "|---|---|---|---|",
        *(_phase(name, begin, end, floor, own) for name, begin, end in PHASES),
        "",
        "| step of Cumulus | median s |",
        "|---|---|",
        *_steps(own),
    ]


def added(step: str, floor: Figures, own: Figures) -> list[float]:
    """Seconds of each round that Cumulus was later at that step."""
    return [mine - bare for mine, bare in zip(own.values[step], floor.values[step], strict=True)]


def _compared(step: str, floor: Figures, own: Figures) -> str:
    more, target = added(step, floor, own), f"≤ {TARGET_S:g}" if step == GONE else "–"
    ratio = own.median(step) / floor.median(step)
    return f"| {NAMES[step]} | {_pair(floor, step)} | {_pair(own, step)} | {ratio:.2f} | {_spread(more)} | {target} |"


def _phase(name: str, begin: str, end: str, floor: Figures, own: Figures) -> str:
    bare, mine = _between(begin, end, floor), _between(begin, end, own)
    more = [one - other for one, other in zip(mine, bare, strict=True)]
    return f"| {name} | {statistics.median(bare):.1f} | {statistics.median(mine):.1f} | {_spread(more)} |"


def _steps(own: Figures) -> list[str]:
    before, lines = "", []
    for name, step in PATH:
        lines.append(f"| {name} | {statistics.median(_between(before, step, own)):.2f} |")
        before = step
    return lines


def _between(begin: str, end: str, figures: Figures) -> list[float]:
    ends = figures.values[end]
    begins: Sequence[float] = figures.values[begin] if begin else [0.0] * len(ends)
    return [one - other for one, other in zip(ends, begins, strict=True)]


def _pair(figures: Figures, step: str) -> str:
    return f"{figures.median(step):.1f} / {figures.p90(step):.1f}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
