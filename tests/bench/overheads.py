"""What Terraform and Ansible add to what they make happen: Terraform on machines that are nothing, Ansible on a command that is.

Both as the controller calls them: the worker module of the qemu cloud with a reattached provider, and the start play on a clone
over a fresh connection.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from server.app import INFRA
from server.settings import Settings
from server.workers.ansible.connection import Host
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.qemu.images.mirror import install_mirror
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.terraform.module import TerraformModule, terraform_binary
from tests.bench.floor import Clone, Floor
from tests.bench.jobs import Measured, prepare, shape_of
from tests.bench.measuring import HOMES, ROW_HEAD, Figures, Options, computer, keep_results, say, timed, write

HOME = HOMES / "overheads"
AT_ONCE = (1, 8)
ROUNDS = 3
PLAYS = 4
LIMIT_S = 120.0
READY_S = 3.0  # Ansible waits for its machine by then
COMMAND = "/usr/local/sbin/cumulus-worker --help"  # a shell that prints a line: as little as a start command can be


def main(options: Options) -> None:
    """Measure, print the table and write it down."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="cumulus-bench-") as short:
        terraform(figures)
        ansible(figures, prepare(Options(keep=True), Measured()), Path(short))
    report(figures)


def terraform(figures: Figures) -> None:
    """Applies and destroys of workspaces of their own, one and eight at once."""
    shutil.rmtree(HOME, ignore_errors=True)
    home = QemuHome(HOME)
    install_mirror(home)
    key = ensure_key(home.key)
    with provider() as reattach:
        environment = {"TF_CLI_CONFIG_FILE": str(home.terraform_rc), "TF_REATTACH_PROVIDERS": reattach}
        module = TerraformModule(
            INFRA / "terraform" / "qemu" / "worker", HOME / "terraform", terraform_binary(), lambda: environment
        )
        first = ["bench-0"]
        _at_once(first, lambda name: module.apply(name, variables(name, key), LIMIT_S))  # terraform init
        _at_once(first, lambda name: module.destroy(name, LIMIT_S))
        for number in AT_ONCE:
            names = [f"bench-{one}" for one in range(number)]
            for turn in range(ROUNDS):
                say(f"Terraform, {number} at once, round {turn + 1} of {ROUNDS}")
                before = children_cpu_s()
                all_s, each = _at_once(names, lambda name: module.apply(name, variables(name, key), LIMIT_S))
                _add(figures, "apply", number, all_s, each)
                all_s, each = _at_once(names, lambda name: module.destroy(name, LIMIT_S))
                _add(figures, "destroy", number, all_s, each)
                figures.add("terraform: CPU of an apply and a destroy", (children_cpu_s() - before) / number)


def children_cpu_s() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _add(figures: Figures, what: str, number: int, all_s: float, each: list[float]) -> None:
    for one in each:
        figures.add(f"terraform {what}, {number} at once, from its call to its return", one)
    if number > 1:
        figures.add(f"terraform {what}, {number} at once: all of them, divided by {number}", all_s / number)


def _at_once(names: list[str], act: Callable[[str], object]) -> tuple[float, list[float]]:
    """Seconds of all together and of each."""
    with ThreadPoolExecutor(len(names)) as pool:
        begin = time.monotonic()
        each = list(pool.map(lambda name: timed(lambda: act(name)), names))
        return time.monotonic() - begin, each


def variables(name: str, key: str) -> dict[str, object]:
    """A worker's."""
    size = {"flavor": "bench", "cpus": 1, "memory_gb": 1, "disk_gb": 20}
    return {"server_id": "bench", "worker": name, "snapshot": "1", "ssh_public_key": key, **size}


@contextmanager
def provider() -> Iterator[str]:
    """The value of TF_REATTACH_PROVIDERS of a provider whose machines are nothing."""
    command = [sys.executable, "-m", "tests.bench.idle_provider", "shared", "--home", str(HOME)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def ansible(figures: Figures, settings: Settings, folder: Path) -> None:
    """One clone; in turns a bare ssh, a play that was launched while its machine was made, and one that was not."""
    home = QemuHome(settings.home)
    floor = Floor.of(settings.home, settings.storage, shape_of(settings), int((home.nfs / "port").read_text()))
    with floor.clone("bare-ansible") as clone:
        subprocess.run(clone.ssh(COMMAND), check=True, stdout=subprocess.DEVNULL)  # cold caches are not Ansible's matter
        for turn in range(PLAYS):
            say(f"Ansible, round {turn + 1} of {PLAYS}")
            bare_s = timed(lambda: subprocess.run(clone.ssh(COMMAND), check=True, stdout=subprocess.DEVNULL))
            figures.add("bare ssh: a new connection and a command", bare_s)
            for name, early in (("a play that waited for its machine", True), ("a play from nothing", False)):
                before = children_cpu_s()
                seconds = play_s(clone, home.key, folder / f"{turn}{early:d}", early=early)
                figures.add(f"{name}: CPU on this computer", children_cpu_s() - before)
                figures.add(f"{name}, with the same", seconds)
                figures.add(f"{name}: beyond the bare ssh", seconds - bare_s)


def play_s(clone: Clone, key: Path, folder: Path, *, early: bool) -> float:
    """Seconds of the start play from its machine's announcement to its end. ``early``: it was launched long before."""
    playbooks, directory = Playbooks(INFRA / "ansible"), folder / "play"
    login = clone.login
    host = Host("bare-ansible", "ssh", login.address, login.port, login.user, login.host_key, key)
    outcomes = []

    def play() -> None:
        variables = {"cumulus_start_command": COMMAND.split()}
        outcomes.append(playbooks.run("start.yml", directory, variables, LIMIT_S, lambda: False, "ssh"))

    thread = threading.Thread(target=play)
    if early:
        thread.start()
        time.sleep(READY_S)
    begin = time.monotonic()
    playbooks.announce(directory, host)
    if not early:
        thread.start()
    thread.join()
    if not outcomes or not outcomes[0].ok:
        raise RuntimeError(f"a play failed: {outcomes[0].message if outcomes else 'with an exception'}")
    return time.monotonic() - begin


def report(figures: Figures) -> None:
    """The figures as a table, and as data."""
    lines = [f"{computer()}.", "", *ROW_HEAD]
    for step in figures.values:
        target = (
            "≤ 0.3 s" if step.startswith(("terraform apply", "terraform destroy")) else "≤ 1.5 s" if "beyond" in step else "–"
        )
        lines.append(figures.row(step, target))
    write("overheads", lines)
    keep_results("overheads", {"seconds": figures.values})
