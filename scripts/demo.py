"""The demonstration: one real search, from an empty computer to the table of its best hits, through the REST API.

Starts a controller and an agent of its own on free ports, submits as the desktop client does, has the agent send the files,
follows the job, fetches its output file, prints the result, and leaves nothing running, also after Ctrl-C.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scripts.interruption import Interrupted, uninterrupted
from scripts.psms import best_by_score, parse_psms
from scripts.upload import Uploads, uploads
from server.client import Client, Refused, Submitted
from server.entry import guarded
from server.errors import CumulusError
from server.installation import running_controller
from server.settings import CHECKOUT, CloudName, Settings, load_settings
from server.storage.folders import Storage

APP = "comet_2019.015"
EXAMPLE = CHECKOUT / "examples" / "bsa"
INPUTS = (EXAMPLE / "BSA1.mzML.gz", EXAMPLE / "bsa.fasta")
PHASES = {
    "PENDING": "waiting for its files and a machine",
    "PREPARING": "making a machine and starting the app on it",
    "RUNNING": "running",
    "DONE": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}
FINAL = frozenset({"DONE", "FAILED", "CANCELLED"})
START_LIMIT_S = 60.0
STOP_LIMIT_S = 90.0
LOOK_S = 0.25


def main() -> int:
    """Run the demonstration; the exit code is 0 if the search succeeded, 130 after Ctrl-C."""
    console = Console(highlight=False)
    settings = load_settings(port=0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        prepare()
        with controller(settings) as client, uploads(settings, client.url, EXAMPLE) as agent:
            return search(settings, client, agent, console)
    except Interrupted:
        console.print("interrupted: nothing is left running")
        return 130
    except CumulusError as error:
        console.print(f"[red]cumulus:[/red] {error.message}")
        return 1


def prepare() -> None:
    """A template and its snapshot, where there are none yet (minutes, once)."""
    child = subprocess.Popen([sys.executable, "-m", "scripts.ready"], cwd=CHECKOUT, start_new_session=True)
    try:
        code = child.wait()
    except Interrupted:
        child.send_signal(signal.SIGINT)  # it takes down the machine that it may have at work
        child.wait(STOP_LIMIT_S)
        raise
    if code:
        raise CumulusError("the template or its snapshot could not be made; the lines above say why")


@contextmanager
def controller(settings: Settings) -> Iterator[Client]:
    """A controller of this checkout, ended in order at the end, whatever happened."""
    log = settings.home / "log" / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if other := running_controller(settings.home):
        raise CumulusError(f"a controller already runs on this installation ({other.url}); end it first")
    with log.open("w") as output:
        command = [str(Path(sys.executable).with_name("cumulus")), "serve", "--port", "0"]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        yield Client(wait_ready(settings, child, log))
    finally:
        with uninterrupted():
            child.terminate()
            child.wait(STOP_LIMIT_S)


def wait_ready(settings: Settings, child: "subprocess.Popen[bytes]", log: Path) -> str:
    """The URL of the controller once it answers. Raises CumulusError with its last words."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and child.poll() is None:
        running = running_controller(settings.home)
        if running and running.pid == child.pid and Client(running.url).healthy():
            return running.url
        time.sleep(0.05)
    raise CumulusError(f"the controller did not start:\n{log.read_text()[-2000:]}")


def search(settings: Settings, client: Client, agent: Uploads, console: Console) -> int:
    """Submit, follow, show; cancels the job and waits for its machine's end if interrupted."""
    owner = getuser()
    form = json.loads((EXAMPLE / "settings.json").read_text())
    begin = time.monotonic()
    job = client.start(owner, APP, settings.default_flavor, form, "demonstration")
    where = (
        "in a virtual machine"
        if settings.cloud is CloudName.QEMU
        else "on this computer itself, WITHOUT a virtual machine (CLOUD=local)"
    )
    console.print(f"job {job.job_id}: {APP} on {INPUTS[0].name}, {where}")
    try:
        console.print(f"agent: {agent.send(owner, job, INPUTS)}")
        status = follow(client, job, begin, console)
    except (Interrupted, KeyboardInterrupt):
        with uninterrupted():
            console.print("\ninterrupted: cancelling the job and removing its machine")
            with suppress(Refused):  # it has just ended
                client.cancel(owner, job.job_id)
            wait_no_machines(settings, job, console)
        raise Interrupted from None
    wait_no_machines(settings, job, console)
    if status != "DONE":
        return 1
    show(client, owner, job, console)
    results = Storage(settings.storage).folder(job.folder).output
    console.print(f"{time.monotonic() - begin:.1f} s from submission to the machine's end; results: {results}")
    return 0


def follow(client: Client, job: Submitted, begin: float, console: Console) -> str:
    """Print the log as it grows under a live line of the phase, until the job ends; returns the last status."""
    shown = 0
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while True:
            row = client.job(job.job_id)
            lines = row["log"].split("\n")[:-1]
            for line in lines[shown:]:
                live.console.print(Text(line, style="dim" if line.startswith("[INFO]") else ""), soft_wrap=True)
            shown = len(lines)
            status = str(row["status"])
            live.update(Text(f"{time.monotonic() - begin:6.1f} s  {status}: {PHASES.get(status, '')}", style="bold"))
            if status in FINAL:
                console.print(f"{time.monotonic() - begin:6.1f} s  {status}")
                return status
            time.sleep(LOOK_S)


def wait_no_machines(settings: Settings, job: Submitted, console: Console) -> None:
    """Wait until the controller has removed every machine of the job, and say so."""
    workspaces = settings.home / "terraform" / f"{settings.cloud}-worker" / "state" / "workspaces"
    deadline = time.monotonic() + STOP_LIMIT_S
    while list(workspaces.glob(f"job-{job.job_id}")) + list(workspaces.glob(f"job-{job.job_id}-*")):
        if time.monotonic() > deadline:
            raise CumulusError("a machine is still there; `make state` shows it")
        time.sleep(0.1)
    console.print("the machine is gone" if settings.cloud is CloudName.QEMU else "nothing of the job runs any more")


def show(client: Client, owner: str, job: Submitted, console: Console) -> None:
    """The best hits, from the job's own output file, fetched through the API."""
    name = next(path for path, _ in client.job(job.job_id)["files"] if path.endswith(".txt") and "decoy" not in path)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "psms.txt"
        client.download(owner, job.job_id, name, target)
        psms = best_by_score(parse_psms(target.read_text()))
    table = Table("scan", "charge", "xcorr", "e-value", "peptide", "protein", title=f"PSMs with xcorr over 2 in {name}", box=None)
    for psm in psms:
        table.add_row(str(psm.scan), str(psm.charge), f"{psm.xcorr:.2f}", f"{psm.e_value:.2e}", psm.peptide, psm.protein)
    console.print(table)


def _interrupt(_number: int, _frame: object) -> None:
    raise Interrupted


if __name__ == "__main__":
    sys.exit(guarded(main))
