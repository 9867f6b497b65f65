"""Workers on real virtual machines: made, found dead, interrupted, removed; by the controller's terraforms and by a plain one."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.qemu.machine import Machines
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.ssh import CommandFailed, run_over_ssh
from server.workers.terraform.module import TerraformError, terraform_binary
from tests.e2e.installation import LIMIT_S, WORKER_MODULE, Installation, eventually
from tests.faults.home import files, is_known

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("nothing_remains"),
]


def test_clones_are_ready_soon_and_have_nothing_in_common(installation: Installation) -> None:
    begin = time.monotonic()
    first = installation.apply("job-9101")
    assert first["boot"] == "warm"
    assert time.monotonic() - begin < 15
    second = installation.apply("job-9102")
    assert first["host_key"] != second["host_key"]
    said = [
        run_over_ssh(installation.login(made), "hostname; cat /proc/sys/kernel/random/uuid /etc/machine-id; date +%s", 60).split()
        for made in (first, second)
    ]
    assert [answer[0] for answer in said] == ["job-9101", "job-9102"]
    assert said[0][1] != said[1][1]
    assert said[0][2] != said[1][2]
    assert abs(int(said[0][3]) - time.time()) < 60
    installation.destroy("job-9101")
    assert installation.running().keys() == {"job-9102"}
    try:
        home = installation.settings.home
        assert [name for path in files(home) if not is_known(name := str(path.relative_to(home)))] == []
    finally:
        installation.destroy("job-9102")


def test_a_machine_has_what_its_flavor_says(installation: Installation) -> None:
    made = installation.apply("job-9103")
    asked = "nproc; free -m | awk '/^Mem/ {print $2}'; df -BG --output=size / | tail -1"
    cpus, memory_mb, disk = run_over_ssh(installation.login(made), asked, 60).split()
    assert int(cpus) == installation.flavor.cpus
    assert 0.85 * installation.flavor.memory_gb * 1024 < int(memory_mb) <= installation.flavor.memory_gb * 1024
    wanted = installation.flavor.disk_gb or installation.settings.worker_disk_gb
    assert 0.9 * wanted < int(disk.removesuffix("G")) <= wanted
    installation.destroy("job-9103")


def test_a_host_key_that_is_not_the_machines_is_refused(installation: Installation) -> None:
    made = installation.apply("job-9104")
    foreign = replace(installation.login(made), host_key="ssh-ed25519 " + "A" * 68)
    with pytest.raises(CommandFailed) as refusal:
        run_over_ssh(foreign, "true", 60)
    assert "Host key verification failed" in refusal.value.output
    installation.destroy("job-9104")


def test_a_machine_that_died_is_gone_from_the_state_and_made_anew(installation: Installation) -> None:
    made = installation.apply("job-9105")
    os.kill(made["pid"], signal.SIGKILL)
    eventually(lambda: not installation.cloud.alive("job-9105"))
    plan = plain_terraform(installation, "job-9105", "plan", "-detailed-exitcode", shared=True)
    assert plan.returncode == 2
    assert "qemu_machine.worker will be created" in plan.stdout
    again = installation.apply("job-9105")
    assert again["pid"] != made["pid"]
    assert installation.cloud.alive("job-9105")
    os.kill(again["pid"], signal.SIGKILL)
    installation.destroy("job-9105")


def test_creating_twice_makes_one_machine(installation: Installation) -> None:
    first = installation.apply("job-9106")
    assert installation.apply("job-9106") == first
    state = installation.module.home / "state" / "workspaces" / "job-9106" / "terraform.tfstate"
    state.unlink()  # what a creator that was killed leaves: a machine in nobody's state
    assert installation.apply("job-9106") == first
    assert installation.running() == {"job-9106": first["pid"]}
    installation.destroy("job-9106")


def test_a_provider_killed_in_the_middle_costs_one_attempt(installation: Installation) -> None:
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(installation.apply, "job-9107")
        eventually(lambda: bool(installation.running()))
        reattach = json.loads(installation.cloud.terraform_env()["TF_REATTACH_PROVIDERS"])
        os.kill(next(iter(reattach.values()))["Pid"], signal.SIGKILL)
        with pytest.raises(TerraformError):
            attempt.result()
    made = installation.apply("job-9107")
    assert installation.running() == {"job-9107": made["pid"]}
    installation.destroy("job-9107")


def test_an_interrupted_terraform_records_its_machine_and_disturbs_no_other(installation: Installation) -> None:
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(installation.apply, "job-9108")
        with started_terraform(installation, "job-9109") as interrupted:
            eventually(lambda: "job-9109" in installation.running())
            interrupted.send_signal(signal.SIGINT)
            interrupted.communicate(timeout=60)
        assert other.result()["boot"] == "warm"
    listed = plain_terraform(installation, "job-9109", "state", "list", shared=True)
    assert listed.stdout.split() == ["qemu_machine.worker"]
    installation.destroy("job-9108")
    installation.destroy("job-9109")


def test_a_terraform_killed_in_the_middle_leaves_no_machine(installation: Installation) -> None:
    with started_terraform(installation, "job-9110") as killed:
        eventually(lambda: "job-9110" in installation.running())
        killed.kill()
        killed.communicate(timeout=60)
    eventually(lambda: installation.cloud.resources() == [])
    installation.destroy("job-9110")


def test_four_at_once(installation: Installation) -> None:
    workers = [f"job-912{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(installation.apply, workers))
    assert [one["boot"] for one in made] == ["warm"] * 4
    assert len({one["port"] for one in made}) == 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(installation.destroy, workers))


def test_plain_terraform_works_without_the_controller(installation: Installation) -> None:
    made = plain_terraform(installation, "job-9111", "apply", "-auto-approve")
    assert made.returncode == 0, made.stdout + made.stderr
    assert installation.cloud.alive("job-9111")
    gone = plain_terraform(installation, "job-9111", "destroy", "-auto-approve")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert not installation.cloud.alive("job-9111")
    installation.destroy("job-9111")


def test_a_memory_image_that_does_not_fit_is_no_reason_to_fail(installation: Installation) -> None:
    state = next(QemuHome(installation.settings.home).current.glob("memory/*/state"))
    whole = state.read_bytes()
    try:
        state.write_bytes(whole[:-65536])
        made = installation.apply("job-9112")
    finally:
        state.write_bytes(whole)
    assert made["boot"] == "cold: the memory image's state is not as it was written"
    assert run_over_ssh(installation.login(made), "hostname", 60).strip() == "job-9112"
    installation.destroy("job-9112")


def test_the_storage_is_reached_over_nfs_and_survives_a_restart_of_its_server(installation: Installation) -> None:
    storage = installation.settings.storage
    (storage / "data" / "given.txt").write_text("from the controller\n")
    folder = storage / "jobs" / "Job_9113_nobody"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "input").mkdir(parents=True)
    installation.cloud.admit(folder)
    login = installation.login(installation.apply("job-9113"))
    port = installation.cloud.host.nfs_port()
    run_over_ssh(login, f"mkdir /mnt/s && mount -t nfs4 -o port={port},vers=4.2 10.0.2.2:/ /mnt/s", 60)
    assert run_over_ssh(login, "cat /mnt/s/data/given.txt", 60) == "from the controller\n"
    with pytest.raises(InfrastructureError):
        run_over_ssh(login, "touch /mnt/s/data/mine", 60)
    writer = "exec 3> /mnt/s/jobs/Job_9113_nobody/log; for i in $(seq 1 40); do echo $i >&3; sleep 0.2; done"
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(run_over_ssh, login, writer, 120)
        eventually(lambda: (folder / "log").exists())
        server = installation.cloud.host.nfs_pid()
        assert server is not None
        os.kill(server, signal.SIGKILL)
        assert installation.cloud.host.nfs_port() == port
        writing.result()
    log = folder / "log"
    assert log.read_text().split() == [str(number) for number in range(1, 41)]
    assert log.stat().st_uid == installation.settings.nfs_user
    installation.destroy("job-9113")


def test_machines_end_with_no_trace_in_the_home(installation: Installation) -> None:
    installation.apply("job-9114")
    installation.destroy("job-9114")
    assert Machines(QemuHome(installation.settings.home)).folders() == []
    assert installation.module.store.workspaces() == []


def started_terraform(installation: Installation, worker: str) -> "subprocess.Popen[str]":
    """An apply as the controller runs it, for a test to interrupt."""
    command, environment = terraform_call(installation, worker, shared=True)
    return subprocess.Popen(
        [*command("apply", "-auto-approve")],
        cwd=WORKER_MODULE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def plain_terraform(
    installation: Installation, worker: str, *arguments: str, shared: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Terraform as an administrator calls it, on what the controller has initialised; ``shared``: with its provider."""
    command, environment = terraform_call(installation, worker, shared)
    return subprocess.run(
        command(*arguments), cwd=WORKER_MODULE, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )


def terraform_call(installation: Installation, worker: str, shared: bool) -> tuple[Callable[..., list[str]], dict[str, str]]:
    """How a command line is made, and the environment for it."""
    environment = {**os.environ, **installation.cloud.terraform_env(), **installation.module.environment(worker)}
    if not shared:
        del environment["TF_REATTACH_PROVIDERS"]
    variables = installation.module.home / "vars" / f"{worker}.tfvars.json"  # where the controller would leave it
    variables.parent.mkdir(parents=True, exist_ok=True)
    variables.write_text(json.dumps(installation.cloud.terraform_vars(worker, installation.flavor)))

    def command(*arguments: str) -> list[str]:
        takes_variables = arguments[0] in ("plan", "apply", "destroy")
        options = ["-input=false", "-no-color", f"-var-file={variables}"] if takes_variables else []
        return [terraform_binary(), *arguments, *options]

    return command, environment
