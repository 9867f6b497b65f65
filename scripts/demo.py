"""The demonstration: one real search, from an empty computer to the table of its best hits, through the REST API.

Starts a controller (where none runs here) and an agent of its own on free ports, submits as the desktop client does, has the
agent send the files, follows the job, fetches its output file, prints the result, and leaves nothing running, however it ends.
"""

import json
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from programs.encoding import begin_in_utf8
from programs.errors import login
from programs.interruption import Interrupted, interruption_means, shielded
from scripts.controllers import controller
from scripts.lifetime import Life, OpenJob, one_demo
from scripts.psms import best_by_score, parse_psms
from scripts.showing import FINAL, Following, machine_message, next_steps, show_psms
from scripts.upload import Uploads, uploads
from server.cli.shared.terminal import progress_on
from server.client import Client, Refused, Submitted
from server.entry import guarded
from server.errors import CumulusError
from server.home.running import running_controller
from server.progress import Progress
from server.settings import CHECKOUT, CloudName, Settings, load_settings
from server.storage.folders import Storage

APP = "comet_2019.015"
EXAMPLE = CHECKOUT / "examples" / "bsa"
INPUTS = (EXAMPLE / "BSA1.mzML.gz", EXAMPLE / "bsa.fasta")
STOP_LIMIT_S = 90.0


def main() -> int:
    """Run the demonstration; the exit code is 0 if the search succeeded. Raises CumulusError, Interrupted."""
    with interruption_means("nothing is left running"):
        return demonstrate(load_settings(port=0), progress_on(sys.stdout))


def demonstrate(settings: Settings, progress: Progress) -> int:
    """From a computer in any state to the result. Raises CumulusError."""
    with one_demo(settings.home, progress.say) as life:
        prepare(life)
        ending = ExitStack()
        with ExitStack() as running:
            running.callback(ending.close)
            with progress.step("Starting the controller"):
                client = running.enter_context(controller(settings, life, progress.say))
            demonstration = Demonstration(settings, life, client, progress)
            demonstration.end_left_job()
            with progress.step("Starting the agent, which sends the files"):
                agent = running.enter_context(uploads(settings, life, client.url, EXAMPLE))
            # The first at the end of what runs, where ``ending`` is the last: a step around it, well ended whatever the reason.
            running.callback(lambda: ending.enter_context(progress.step("Ending the controller and the agent")))
            code = demonstration.search(agent)
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


@dataclass(frozen=True)
class Demonstration:
    """One that has a controller to speak to."""

    settings: Settings
    life: Life
    client: Client
    progress: Progress

    def search(self, agent: Uploads) -> int:
        """Submit, follow, show; cancels the job and waits for its machine's end if interrupted. Raises CumulusError."""
        begin = time.monotonic()
        job, status = self._see_through(agent, begin)
        self._wait_no_machines(job.job_id)
        self.life.job_ended()
        if status != "DONE":
            return 1
        self._show(job)
        results = Storage(self.settings.storage).folder(job.folder).output
        self.progress.say(f"{time.monotonic() - begin:.1f} s from submission to the machine's end; results: {results}")
        return 0

    def end_left_job(self) -> None:
        """Cancel the job that a killed demonstration had submitted, and wait for its machine's end. Raises CumulusError."""
        left = self.life.left
        if not left:
            return
        try:
            running = self.client.job(left.job_id)["status"] not in FINAL
        except Refused:  # its database is another's by now
            running = False
        if running:
            self.progress.say(f"job {left.job_id} of an earlier demonstration is still at work: cancelling it")
            self._end_job(left)
        self.life.job_ended()

    def _see_through(self, agent: Uploads, begin: float) -> tuple[Submitted, str]:
        """Submit a job and follow it; returns it with its last status."""
        owner = login()
        form = json.loads((EXAMPLE / "settings.json").read_text())
        with shielded() as shield:
            job = self.client.start(owner, APP, self.settings.default_flavor, form, "demonstration")
            self.life.submitted(job.job_id, owner)
            try:
                with shield.lowered():
                    return job, self._run(job, agent, owner, begin)
            except (Interrupted, CumulusError) as problem:
                why = problem.why if isinstance(problem, Interrupted) else "that does not work"
                self.progress.say(f"\n{why}: cancelling the job and removing its machine")
                self._end_job(OpenJob(job_id=job.job_id, owner=owner))
                self.life.job_ended()
                raise

    def _run(self, job: Submitted, agent: Uploads, owner: str, begin: float) -> str:
        """Send the job's files and follow it to its end; returns its last status. Raises CumulusError."""
        settings, progress = self.settings, self.progress
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
        return Following(progress, lambda: self.client.job(job.job_id), machine).follow(job.job_id, begin)

    def _end_job(self, job: OpenJob) -> None:
        """Cancel a job and wait for its machine's end. Raises CumulusError."""
        with suppress(Refused):  # it has just ended
            self.client.cancel(job.owner, job.job_id)
        self._wait_no_machines(job.job_id)

    def _wait_no_machines(self, job_id: int) -> None:
        """Wait until the controller has removed every machine of the job, and say so."""
        is_vm = self.settings.cloud is CloudName.QEMU
        workspaces = self.settings.home / "terraform" / f"{self.settings.cloud}-worker" / "state" / "workspaces"
        deadline = time.monotonic() + STOP_LIMIT_S
        with self.progress.step("Removing the machine" if is_vm else "Removing what the job has left running"):
            while list(workspaces.glob(f"job-{job_id}")) + list(workspaces.glob(f"job-{job_id}-*")):
                if time.monotonic() > deadline:
                    raise CumulusError("a machine is still there; `make state` shows it")
                time.sleep(0.1)

    def _show(self, job: Submitted) -> None:
        """The best hits, from the job's own output file, fetched through the API."""
        files = self.client.job(job.job_id)["files"]
        name = next(path for path, _ in files if path.endswith(".txt") and "decoy" not in path)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "psms.txt"
            self.client.download(login(), job.job_id, name, target)
            psms = best_by_score(parse_psms(target.read_text()))
        self.progress.say(f"PSMs with xcorr over 2 in {name}:")
        show_psms(psms)


if __name__ == "__main__":
    begin_in_utf8()
    sys.exit(guarded(main))
