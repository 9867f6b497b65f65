"""What the demonstration shows: its job while it runs, the best hits, what to do next. Owns wording and layout only."""

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from scripts.psms import Psm
from server.cli.shared.terminal import Terminal, plain_console, print_table
from server.progress import ESCAPES, Progress, last_line
from server.settings import CloudName, Settings
from server.workers.clouds.qemu.console import MachineConsole
from server.workers.clouds.qemu.machine import Machines
from server.workers.clouds.qemu.paths import QemuHome

PHASES = {
    "PENDING": "waiting for its files and a machine",
    "PREPARING": "making a machine and starting the app on it",
    "RUNNING": "running",
    "DONE": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}
FINAL = frozenset({"DONE", "FAILED", "CANCELLED"})
POLL_S = 0.25
NEAR = 3  # lines among which one that was shown before is looked for


@dataclass
class Following:
    """A job as it is shown while it runs. ``row``: asks the controller; ``machine``: the latest message of its machine."""

    progress: Progress
    row: Callable[[], Mapping[str, object]]
    machine: Callable[[], str]
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def follow(self, job_id: int, begin: float) -> str:
        """Show phases and log lines, once each, until the job ends; returns its last status. ``begin``: when it was submitted."""
        log, last = Log(), ""
        with self.progress.step(f"Job {job_id}") as step:
            while True:
                row = self.row()
                status = str(row["status"])
                for line in log.new(str(row["log"]), ended=status in FINAL):
                    show_log_line(self.progress, line)
                phase = PHASES.get(status, status.lower())
                if status != last:
                    self.progress.say(f"{self.clock() - begin:6.1f} s  {phase}")
                if status in FINAL:
                    return status
                message = last_line(self.machine()) if status == "PREPARING" else ""
                step.note(message or phase)
                last = status
                self.pause(POLL_S)


@dataclass
class Log:
    """Which lines of a log were shown."""

    shown: list[str] = field(default_factory=list)

    def new(self, text: str, *, ended: bool) -> Iterator[str]:
        """The lines that are new; the last one only when it is complete, or nothing can be added.

        The controller adds lines between those of the machine, and removes one that is no longer true. A log may restart.
        """
        lines = text.split("\n")
        if not ended or not lines[-1]:
            lines = lines[:-1]
        known = 0
        for line in lines:
            near = self.shown[known : known + NEAR]
            if line in near:
                known += near.index(line) + 1
            else:
                yield line
        self.shown = lines


def show_log_line(progress: Progress, line: str) -> None:
    """A line of a job's log; ours are dim on a terminal."""
    bare = "".join(char for char in ESCAPES.sub("", line).expandtabs() if char.isprintable())
    if isinstance(progress, Terminal) and bare.startswith("[INFO]"):
        progress.console.print(Text(bare, style="dim"), soft_wrap=True)
    else:
        progress.say(bare)


def machine_message(settings: Settings, job_id: int) -> str:
    """The latest message on the console of the job's machine, where that runs here; "" where it has said nothing."""
    if settings.cloud is not CloudName.QEMU:
        return ""
    machines, name = Machines(QemuHome(settings.home)), re.compile(rf"job-{job_id}(-[0-9]+)?")
    workers = [worker for worker in machines.folders() if name.fullmatch(worker)]
    return MachineConsole(machines.home).log(workers[-1]) if workers else ""


def show_psms(psms: Sequence[Psm]) -> None:
    """The table of the best hits."""
    table = Table("scan", "charge", "xcorr", "e-value", "peptide", "protein", box=None)
    for psm in psms:
        table.add_row(str(psm.scan), str(psm.charge), f"{psm.xcorr:.2f}", f"{psm.e_value:.2e}", psm.peptide, psm.protein)
    print_table(table, plain_console(sys.stdout), wrap=sys.stdout.isatty())


def next_steps(checkout: Path, app: str, spectra: Path, database: Path, cloud: CloudName, *, running: bool = False) -> str:
    """Three commands for searching one's own file; as printed they search these files. They work in any folder.

    ``running``: whether a controller runs here already, so that there is none to start.
    """
    sudo = "sudo " if os.geteuid() == 0 and "SUDO_UID" in os.environ else ""
    cumulus = f"{sudo}{shlex.quote(str(checkout / '.venv/bin/cumulus'))}"
    inputs = " ".join(f"--input {shlex.quote(f'{name}={path}')}" for name, path in (("spectra", spectra), ("database", database)))
    run = f"make -C {shlex.quote(str(checkout))} run{'' if cloud is CloudName.QEMU else f' CLOUD={cloud}'}"
    return "\n".join(
        [
            "",
            "Search your own file: give its path and that of your FASTA file in place of these (mzML, mzML.gz, mzXML or mgf).",
            *(() if running else (f"  {run}", "and in a second terminal:")),
            f"  JOB=$({cumulus} submit {shlex.quote(app)} {inputs})",
            f'  {cumulus} logs -f "$JOB" && {cumulus} get "$JOB" --to results',
            f"More of it: {checkout / 'examples' / 'own-file.md'}",
        ]
    )
