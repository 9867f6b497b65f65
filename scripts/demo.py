"""The demonstration: one real search, from an empty computer to the table of its best hits, through the REST API.

Starts a controller (where none runs here) and an agent of its own on free ports, submits as the desktop client does, has the
agent send the files, follows the job, fetches its output file, prints the result, and leaves nothing running, however it ends.
"""

import json
import sys
import tempfile
import time
from getpass import getuser
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scripts.controllers import controller
from scripts.lifetime import Life, OpenJob, one_demo
from scripts.psms import best_by_score, parse_psms
from scripts.upload import Uploads, uploads
from server.client import Client, Refused, Submitted
from server.errors import CumulusError
from server.interruption import Interrupted, ending_in_order, shielded
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
STOP_LIMIT_S = 90.0
SIGNALLED = 128  # and a signal's number: the exit code of a program that it ended
LOOK_S = 0.25


def main() -> int:
    """Run the demonstration; the exit code is 0 if the search succeeded, 128 and the signal's number if one ended it."""
    console = Console(highlight=False)
    with ending_in_order():
        try:
            return demonstrate(load_settings(port=0), console)
        except Interrupted as interrupted:
            console.print(f"{interrupted.why}: nothing is left running")
            return interrupted.exit_code
        except CumulusError as error:
            where = f"{error.field}: " if error.field else ""
            console.print(f"[red]cumulus:[/red] {escape(where + error.message)}", soft_wrap=True)
            return 1


def demonstrate(settings: Settings, console: Console) -> int:
    """From a computer in any state to the result. Raises CumulusError."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    with one_demo(settings.home, say) as life:
        prepare(life)
        with controller(settings, life, say) as client:
            end_left_job(settings, client, life, console)
            with uploads(settings, life, client.url, EXAMPLE) as agent:
                return search(settings, life, client, agent, console)


def prepare(life: Life) -> None:
    """A template and its snapshot, where there are none yet (minutes, once)."""
    with life.child("preparation", [sys.executable, "-m", "scripts.ready", "--demo"]) as child:
        code = child.wait()
    if code > SIGNALLED:
        raise Interrupted(code - SIGNALLED)
    if code:
        raise CumulusError("the template or its snapshot could not be made; the lines above say why")


def search(settings: Settings, life: Life, client: Client, agent: Uploads, console: Console) -> int:
    """Submit, follow, show; cancels the job and waits for its machine's end if interrupted."""
    owner = getuser()
    form = json.loads((EXAMPLE / "settings.json").read_text())
    begin = time.monotonic()
    with shielded() as shield:
        job = client.start(owner, APP, settings.default_flavor, form, "demonstration")
        life.submitted(job.job_id, owner)
        try:
            with shield.lowered():
                status = run(settings, job, client, agent, owner, console, begin)
        except (Interrupted, CumulusError) as problem:
            why = problem.why if isinstance(problem, Interrupted) else "that does not work"
            console.print(f"\n{why}: cancelling the job and removing its machine")
            end_job(settings, client, OpenJob(job_id=job.job_id, owner=owner), console)
            life.job_ended()
            raise
    wait_no_machines(settings, job.job_id, console)
    life.job_ended()
    if status != "DONE":
        return 1
    show(client, owner, job, console)
    results = Storage(settings.storage).folder(job.folder).output
    console.print(f"{time.monotonic() - begin:.1f} s from submission to the machine's end; results: {results}")
    return 0


def run(settings: Settings, job: Submitted, client: Client, agent: Uploads, owner: str, console: Console, begin: float) -> str:
    """Send the job's files and follow it to its end; returns its last status. Raises CumulusError."""
    where = (
        "in a virtual machine"
        if settings.cloud is CloudName.QEMU
        else "on this computer itself, WITHOUT a virtual machine (CLOUD=local)"
    )
    console.print(f"job {job.job_id}: {APP} on {INPUTS[0].name}, {where}")
    if not Storage(settings.storage).folder(job.folder).path.is_dir():
        raise CumulusError(f"the controller keeps its jobs elsewhere than in {settings.storage}: give both the same settings")
    console.print(f"agent: {agent.send(owner, job, INPUTS)}")
    return follow(client, job, begin, console)


def end_left_job(settings: Settings, client: Client, life: Life, console: Console) -> None:
    """A job that a killed demonstration had submitted is not for anybody any more."""
    if not life.left:
        return
    try:
        running = client.job(life.left.job_id)["status"] not in FINAL
    except Refused:  # its database is another's by now
        running = False
    if running:
        console.print(f"job {life.left.job_id} of an earlier demonstration is still at work: cancelling it")
        end_job(settings, client, life.left, console)
    life.job_ended()


def end_job(settings: Settings, client: Client, job: OpenJob, console: Console) -> None:
    """Cancel a job and wait for its machine's end. Raises CumulusError."""
    client.cancel(job.owner, job.job_id)
    wait_no_machines(settings, job.job_id, console)


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


def wait_no_machines(settings: Settings, job_id: int, console: Console) -> None:
    """Wait until the controller has removed every machine of the job, and say so."""
    workspaces = settings.home / "terraform" / f"{settings.cloud}-worker" / "state" / "workspaces"
    deadline = time.monotonic() + STOP_LIMIT_S
    while list(workspaces.glob(f"job-{job_id}")) + list(workspaces.glob(f"job-{job_id}-*")):
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


if __name__ == "__main__":
    sys.exit(main())
