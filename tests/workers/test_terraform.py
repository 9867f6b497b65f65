"""A Terraform module and its workspaces, with the real terraform."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from server.errors import SetupMissing
from server.process_priority import TOOL
from server.workers.terraform.module import TerraformError, TerraformModule, terraform_binary
from server.workers.terraform.process import TerraformTimeout, first_error

MODULE = """
terraform {
  backend "local" {}
}
variable "size" {
  type = number
  validation {
    condition     = var.size < 10
    error_message = "The size is too large."
  }
}
resource "terraform_data" "machine" {
  input = var.size
}
output "size" {
  description = "As asked for"
  value       = terraform_data.machine.output
}
"""


@pytest.fixture
def module(tmp_path: Path) -> TerraformModule:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.tf").write_text(MODULE)
    return TerraformModule(source, tmp_path / "home", terraform_binary(), dict)


def test_each_workspace_has_its_own_state_until_destroyed(module: TerraformModule) -> None:
    assert module.apply("job-1", {"size": 1}, 60)["size"] == 1
    assert module.apply("job-2", {"size": 2}, 60)["size"] == 2
    assert module.store.outputs("job-1") == {"size": 1}
    assert module.store.workspaces() == ["job-1", "job-2"]
    module.destroy("job-1", 60)
    assert module.store.workspaces() == ["job-2"]
    assert not (module.home / "vars" / "job-1.tfvars.json").exists()


def test_applying_again_changes_nothing(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    state = module.home / "state" / "workspaces" / "job-1" / "terraform.tfstate"
    before = json.loads(state.read_text())["serial"]
    module.apply("job-1", {"size": 1}, 60)
    assert json.loads(state.read_text())["serial"] == before


def test_nothing_is_written_beside_the_source(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    assert sorted(path.name for path in module.path.iterdir()) == ["main.tf"]


def test_a_destroyed_workspace_is_one_that_terraform_knows_no_more(module: TerraformModule) -> None:
    for name in ("job-1", "job-2"):
        module.apply(name, {"size": 1}, 60)
    module.destroy("job-1", 60)
    listed = [terraform_binary(), "workspace", "list"]
    environment = {**os.environ, **module.environment("default")}
    told = subprocess.run(listed, cwd=module.path, env=environment, stdout=subprocess.PIPE, text=True).stdout
    assert [name for name in told.split() if name.startswith("job-")] == ["job-2"]


def test_nothing_stays_of_the_values_that_a_killed_controller_was_writing(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    for workspace in ("job-1", "job-10"):
        (module.store.variable_files.folder / f".{workspace}.tfvars.json.0a1b2c3d.new").write_text("{")
    module.destroy("job-1", 60)
    assert [path.name for path in module.store.variable_files.folder.iterdir()] == [".job-10.tfvars.json.0a1b2c3d.new"]


def test_a_workspace_that_still_holds_something_is_not_forgotten(module: TerraformModule, tmp_path: Path) -> None:
    module.apply("job-1", {"size": 1}, 60)
    idle = tmp_path / "terraform"
    idle.write_text("#!/bin/sh\n")
    idle.chmod(idle.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(TerraformError, match="1 resources are left in the state of job-1"):
        TerraformModule(module.path, module.home, str(idle), dict).destroy("job-1", 60)
    assert module.store.outputs("job-1") == {"size": 1}


def test_destroying_what_is_not_there_is_no_error(module: TerraformModule) -> None:
    module.destroy("job-9", 60)
    assert module.store.workspaces() == []


def test_a_failure_carries_terraform_s_own_words(module: TerraformModule) -> None:
    with pytest.raises(TerraformError, match="The size is too large") as caught:
        module.apply("job-1", {"size": 11}, 60)
    assert "validation" in caught.value.output


@pytest.mark.parametrize("name", ["../x", "Job 1", "", "a" * 80, "-x"])
def test_a_workspace_s_name_cannot_be_a_path_or_an_option(module: TerraformModule, name: str) -> None:
    with pytest.raises(TerraformError):
        module.apply(name, {"size": 1}, 60)


def test_a_terraform_that_hangs_is_ended(module: TerraformModule, tmp_path: Path) -> None:
    slow = tmp_path / "terraform"
    slow.write_text('#!/bin/sh\ncase "$*" in *init*) exit 0;; esac\necho begun; sleep 0.3; nice; sleep 60\n')
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(TerraformTimeout, match="longer than 1 s") as caught:
        TerraformModule(module.path, tmp_path / "other", str(slow), dict).apply("job-1", {"size": 1}, 1)
    assert "begun" in caught.value.output
    assert caught.value.output.split()[-1] == str(psutil.Process().nice() + TOOL), "the controller goes first"


def test_a_computer_without_terraform_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(SetupMissing, match="neither terraform nor tofu"):
        terraform_binary(str(tmp_path))


def test_the_first_error_is_found_under_terraform_s_decoration() -> None:
    output = "\n╷\n│ Error: Quota exceeded\n│ \n│   with openstack_x.y,\n│   on main.tf line 1\n╵\n╷\n│ Error: second\n╵\n"
    assert first_error(output).startswith("Quota exceeded")
    assert "second" not in first_error(output)
    assert first_error("") == "terraform printed nothing"


def test_a_module_is_initialised_once_and_again_when_its_text_changes(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    marker = module.home / "initialised"
    first = os.stat(marker).st_mtime_ns
    module.apply("job-2", {"size": 1}, 60)
    assert os.stat(marker).st_mtime_ns == first
    (module.path / "main.tf").write_text(MODULE + "\n")
    module.apply("job-2", {"size": 1}, 60)
    assert os.stat(marker).st_mtime_ns > first


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_a_home_in_another_place_keeps_its_states_there(module: TerraformModule, tmp_path: Path, way: str) -> None:
    module.apply("job-1", {"size": 1}, 60)
    other = TerraformModule(module.path, tmp_path / "other", terraform_binary(), dict)
    if way == "copied":
        shutil.copytree(module.home, other.home)
    else:
        module.home.rename(other.home)
    assert other.store.outputs("job-1") == {"size": 1}
    assert other.apply("job-2", {"size": 2}, 60) == {"size": 2}
    assert other.store.workspaces() == ["job-1", "job-2"]
    assert module.store.workspaces() == (["job-1"] if way == "copied" else [])
    other.destroy("job-1", 60)
    assert other.store.workspaces() == ["job-2"]


HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "r+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def hold(state: Path, seconds: float) -> Iterator["subprocess.Popen[str]"]:
    """A process that locks the state as terraform does, and says who it is; ended with the block."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(state), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    note = {"ID": "f7a1", "Operation": "OperationTypeApply", "Who": "an earlier one", "Path": str(state)}
    (state.parent / f".{state.name}.lock.info").write_text(json.dumps(note))
    try:
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_state_that_a_living_terraform_has_locked_is_waited_for(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    with hold(module.home / "state" / "workspaces" / "job-1" / "terraform.tfstate", 3) as holder:
        begin = time.monotonic()
        assert module.apply("job-1", {"size": 2}, 60) == {"size": 2}
        assert time.monotonic() - begin > 2
        assert holder.wait() == 0


def test_a_lock_whose_holder_is_dead_hinders_nobody(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    with hold(module.home / "state" / "workspaces" / "job-1" / "terraform.tfstate", 600) as holder:
        holder.kill()
    begin = time.monotonic()
    module.destroy("job-1", 60)
    assert module.store.workspaces() == []
    assert time.monotonic() - begin < 9  # shorter than a lock is waited for


def test_what_was_left_half_made_or_never_heard_of_is_adopted_and_not_made_again(module: TerraformModule) -> None:
    module.apply("job-1", {"size": 1}, 60)
    state = module.store.state("job-1")
    identifier = module.store.made("job-1")["terraform_data.machine"][0]
    state["resources"][0]["instances"][0]["status"] = "tainted"
    module.store.state_file("job-1").write_text(json.dumps({**state, "serial": state["serial"] + 1}))
    assert module.store.made("job-1") == {"terraform_data.machine": (identifier, True)}
    module.adopt("job-1", "terraform_data.machine", identifier, 60)
    assert module.store.made("job-1") == {"terraform_data.machine": (identifier, False)}
    module.apply("job-1", {"size": 1}, 60)
    assert module.store.made("job-1") == {"terraform_data.machine": (identifier, False)}
    module.store.state_file("job-1").write_text(json.dumps({**state, "serial": state["serial"] + 9, "resources": []}))
    module.adopt("job-1", "terraform_data.machine", identifier, 60)
    module.adopt("job-1", "terraform_data.machine", identifier, 60)  # it is there already
    assert module.store.made("job-1") == {"terraform_data.machine": (identifier, False)}
