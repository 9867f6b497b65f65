"""The local cloud through its real Terraform module."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.catalog.flavors import Flavor
from server.settings import CHECKOUT, Settings
from server.workers.clouds.local import LocalCloud
from server.workers.terraform.module import TerraformError, TerraformModule, terraform_binary

SMALL = Flavor("m1.small", 1, 1, 1)


class Faulty(LocalCloud):
    """Fails to make job-2, half-way."""

    @property
    def faults(self) -> Mapping[str, str]:
        return {"job-2": "echo 'it is full' >&2; exit 3"}


def module(settings: Settings, cloud: LocalCloud) -> TerraformModule:
    path = CHECKOUT / "infra" / "terraform" / "local" / "worker"
    return TerraformModule(path, settings.home / "terraform" / "local-worker", terraform_binary(), cloud.terraform_env)


def test_a_machine_is_there_from_its_creation_to_its_end(settings: Settings, cloud: LocalCloud) -> None:
    workers = module(settings, cloud)
    made = workers.apply("job-1", cloud.terraform_vars("job-1", SMALL), 60)
    assert (made["id"], made["boot"], made["port"], made["host_key"]) == ("job-1", "local", 0, "")
    assert [(found.worker, found.alive) for found in cloud.resources()] == [("job-1", True)]
    workers.destroy("job-1", 60)
    assert cloud.resources() == []
    assert not cloud.alive("job-1")


def test_a_fault_leaves_a_half_made_machine_that_can_be_removed(settings: Settings) -> None:
    cloud = Faulty(settings, "c0ffee")
    workers = module(settings, cloud)
    with pytest.raises(TerraformError, match="it is full"):
        workers.apply("job-2", cloud.terraform_vars("job-2", SMALL), 60)
    assert [found.worker for found in cloud.resources()] == ["job-2"]
    workers.apply("job-1", cloud.terraform_vars("job-1", SMALL), 60)
    workers.destroy("job-2", 60)
    assert [found.worker for found in cloud.resources()] == ["job-1"]
    workers.destroy("job-1", 60)


def test_what_runs_on_a_machine_ends_with_it(settings: Settings, cloud: LocalCloud) -> None:
    workers = module(settings, cloud)
    workers.apply("job-1", cloud.terraform_vars("job-1", SMALL), 60)
    (machine,) = cloud.resources()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=machine.identifier) as process:
        cloud.delete(machine)
        assert process.wait(5) == -9
    assert cloud.resources() == []
    cloud.delete(machine)
    workers.destroy("job-1", 60)


def test_a_machine_whose_runner_is_gone_is_not_alive(settings: Settings, cloud: LocalCloud, tmp_path: Path) -> None:
    work = Path(cloud.layout("job-1", tmp_path / "Job_1").work_dir)
    work.parent.mkdir(parents=True)
    assert cloud.alive("job-1")
    work.mkdir()
    assert not cloud.alive("job-1")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "--work-dir", str(work)]) as process:
        assert cloud.alive("job-1")
        process.kill()


def test_the_job_is_told_all_its_folders(settings: Settings, cloud: LocalCloud, tmp_path: Path) -> None:
    layout = cloud.layout("job-1", tmp_path / "Job_1_ada_probe_1")
    assert layout.connection == "shell"
    assert layout.start_command[-6:] == (
        *("--job-dir", str(tmp_path / "Job_1_ada_probe_1")),
        *("--data-dir", str(settings.storage / "data")),
        *("--work-dir", layout.work_dir),
    )
    assert layout.stop_command[-2:] == ("--work-dir", layout.work_dir)
