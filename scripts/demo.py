"""The demonstration: one real search, from an empty computer to the table of its best hits, through the REST API.

Starts a controller (where none runs here) and an agent of its own on free ports, submits as the desktop client does, has the
agent send the files, follows the job, fetches its output file, prints the result, and leaves nothing running, however it ends.
"""

import json
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from programs.errors import login
from programs.interruption import Interrupted, shielded
from scripts.controllers import controller
from scripts.lifetime import Life, OpenJob, one_demo
from scripts.psms import best_by_score, parse_psms
from scripts.showing import FINAL, Following, machine_message, next_steps, show_psms
from scripts.upload import Uploads, uploads
from server.client import Client, Refused, Submitted
from server.entry import guarded
from server.errors import CumulusError
from server.installation import running_controller
from server.progress import Progress
from server.settings import CHECKOUT, CloudName, Settings, load_settings
from server.storage.folders import Storage
from server.terminal import progress_on

APP = "comet_2019.015"
EXAMPLE = CHECKOUT / "examples" / "bsa"
INPUTS = (EXAMPLE / "BSA1.mzML.gz", EXAMPLE / "bsa.fasta")
STOP_LIMIT_S = 90.0


def main() -> int:
    """Run the demonstration; the exit code is 0 if the search succeeded. Raises CumulusError, Interrupted."""
    try:
        return demonstrate(load_settings(port=0), progress_on(sys.stdout))
    except Interrupted as interrupted:
        interrupted.meaning = "nothing is left running"
        raise


def demonstrate(settings: Settings, progress: Progress) -> int:
    """From a computer in any state to the result. Raises CumulusError."""
    with one_demo(settings.home, progress.say) as life:
        prepare(life)
        ending = ExitStack()
        with ExitStack() as running:
            running.callback(ending.close)
            with progress.step("Starting the controller"):
                client = running.enter_context(controller(settings, life, progress.say))
            end_left_job(settings, client, life, progress)
            with progress.step("Starting the agent, which sends the files"):
                agent = running.enter_context(uploads(settings, life, client.url, EXAMPLE))
            # The first at the end of what runs, where ``ending`` is the last: a step around it, well ended whatever the reason.
            running.callback(lambda: ending.enter_context(progress.step("Ending the controller and the agent")))
            code = search(settings, life, client, agent, progress)
    if code == 0:
        somebodys = running_controller(settings.home) is not None
        progress.say(next_steps(CHECKOUT, APP, *INPUTS, settings.cloud, running=somebodys))
    return code


def prepare(life: Life) -> None:
    """A template and its snapshot, where there are none yet (minutes, once)."""
    with life.child("preparation", [sys.executable, "-m", "scripts.ready", "--demo"]) as child:
        code = child.wait()
    if interrupted := Interrupted.of(code):
        raise interrupted
    if code:
        raise CumulusError("the template or its snapshot could not be made; the lines above say why")


def search(settings: Settings, life: Life, client: Client, agent: Uploads, progress: Progress) -> int:
    """Submit, follow, show; cancels the job and waits for its machine's end if interrupted."""
    owner = login()
    form = json.loads((EXAMPLE / "settings.json").read_text())
    begin = time.monotonic()
    with shielded() as shield:
        job = client.start(owner, APP, settings.default_flavor, form, "demonstration")
        life.submitted(job.job_id, owner)
        try:
            with shield.lowered():
                status = run(settings, job, client, agent, owner, progress, begin)
        except (Interrupted, CumulusError) as problem:
            why = problem.why if isinstance(problem, Interrupted) else "that does not work"
            progress.say(f"\n{why}: cancelling the job and removing its machine")
            end_job(settings, client, OpenJob(job_id=job.job_id, owner=owner), progress)
            life.job_ended()
            raise
    wait_no_machines(settings, job.job_id, progress)
    life.job_ended()
    if status != "DONE":
        return 1
    show(client, owner, job, progress)
    results = Storage(settings.storage).folder(job.folder).output
    progress.say(f"{time.monotonic() - begin:.1f} s from submission to the machine's end; results: {results}")
    return 0


def run(settings: Settings, job: Submitted, client: Client, agent: Uploads, owner: str, progress: Progress, begin: float) -> str:
    """Send the job's files and follow it to its end; returns its last status. Raises CumulusError."""
    where = (
        "in a virtual machine"
        if settings.cloud is CloudName.QEMU
        else "on this computer itself, WITHOUT a virtual machine (CLOUD=local)"
    )
    progress.say(f"job {job.job_id}: {APP} on {INPUTS[0].name}, {where}")
    if not Storage(settings.storage).folder(job.folder).path.is_dir():
        raise CumulusError(f"the controller keeps its jobs elsewhere than in {settings.storage}: give both the same settings")
    progress.say(f"agent: {agent.send(owner, job, INPUTS)}")
    machine = partial(machine_message, settings, job.job_id)
    return Following(progress, lambda: client.job(job.job_id), machine).follow(job.job_id, begin)


def end_left_job(settings: Settings, client: Client, life: Life, progress: Progress) -> None:
    """A job that a killed demonstration had submitted is not for anybody any more."""
    if not life.left:
        return
    try:
        running = client.job(life.left.job_id)["status"] not in FINAL
    except Refused:  # its database is another's by now
        running = False
    if running:
        progress.say(f"job {life.left.job_id} of an earlier demonstration is still at work: cancelling it")
        end_job(settings, client, life.left, progress)
    life.job_ended()


def end_job(settings: Settings, client: Client, job: OpenJob, progress: Progress) -> None:
    """Cancel a job and wait for its machine's end. Raises CumulusError."""
    with suppress(Refused):  # it has just ended
        client.cancel(job.owner, job.job_id)
    wait_no_machines(settings, job.job_id, progress)


def wait_no_machines(settings: Settings, job_id: int, progress: Progress) -> None:
    """Wait until the controller has removed every machine of the job, and say so."""
    workspaces = settings.home / "terraform" / f"{settings.cloud}-worker" / "state" / "workspaces"
    deadline = time.monotonic() + STOP_LIMIT_S
    with progress.step("Removing the machine" if settings.cloud is CloudName.QEMU else "Removing what the job has left running"):
        while list(workspaces.glob(f"job-{job_id}")) + list(workspaces.glob(f"job-{job_id}-*")):
            if time.monotonic() > deadline:
                raise CumulusError("a machine is still there; `make state` shows it")
            time.sleep(0.1)


def show(client: Client, owner: str, job: Submitted, progress: Progress) -> None:
    """The best hits, from the job's own output file, fetched through the API."""
    name = next(path for path, _ in client.job(job.job_id)["files"] if path.endswith(".txt") and "decoy" not in path)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "psms.txt"
        client.download(owner, job.job_id, name, target)
        psms = best_by_score(parse_psms(target.read_text()))
    progress.say(f"PSMs with xcorr over 2 in {name}:")
    show_psms(psms)


if __name__ == "__main__":
    sys.exit(guarded(main))
