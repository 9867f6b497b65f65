"""A Terraform module and its workspaces, with the real terraform."""

import json
import os
import stat
from pathlib import Path

import pytest

from server.errors import SetupMissing
from server.workers.terraform import Module, TerraformError, TerraformTimeout, first_error, terraform_binary

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
def module(tmp_path: Path) -> Module:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.tf").write_text(MODULE)
    return Module(source, tmp_path / "home", terraform_binary(), dict)


def test_each_workspace_has_its_own_state_until_destroyed(module: Module) -> None:
    assert module.apply("job-1", {"size": 1}, 60)["size"] == 1
    assert module.apply("job-2", {"size": 2}, 60)["size"] == 2
    assert module.outputs("job-1") == {"size": 1}
    assert module.workspaces() == ["job-1", "job-2"]
    module.destroy("job-1", 60)
    assert module.workspaces() == ["job-2"]
    assert not (module.home / "vars" / "job-1.tfvars.json").exists()


def test_applying_again_changes_nothing(module: Module) -> None:
    module.apply("job-1", {"size": 1}, 60)
    state = module.home / "state" / "workspaces" / "job-1" / "terraform.tfstate"
    before = json.loads(state.read_text())["serial"]
    module.apply("job-1", {"size": 1}, 60)
    assert json.loads(state.read_text())["serial"] == before


def test_nothing_is_written_beside_the_source(module: Module) -> None:
    module.apply("job-1", {"size": 1}, 60)
    assert sorted(path.name for path in module.path.iterdir()) == ["main.tf"]


def test_destroying_what_is_not_there_is_no_error(module: Module) -> None:
    module.destroy("job-9", 60)
    assert module.workspaces() == []


def test_a_failure_carries_terraform_s_own_words(module: Module) -> None:
    with pytest.raises(TerraformError, match="The size is too large") as caught:
        module.apply("job-1", {"size": 11}, 60)
    assert "validation" in caught.value.output


@pytest.mark.parametrize("name", ["../x", "Job 1", "", "a" * 80, "-x"])
def test_a_workspace_s_name_cannot_be_a_path_or_an_option(module: Module, name: str) -> None:
    with pytest.raises(TerraformError):
        module.apply(name, {"size": 1}, 60)


def test_a_terraform_that_hangs_is_ended(module: Module, tmp_path: Path) -> None:
    slow = tmp_path / "terraform"
    slow.write_text('#!/bin/sh\ncase "$*" in *init*) exit 0;; esac\necho begun; sleep 60\n')
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(TerraformTimeout, match="longer than 1 s") as caught:
        Module(module.path, tmp_path / "other", str(slow), dict).apply("job-1", {"size": 1}, 1)
    assert "begun" in caught.value.output


def test_a_computer_without_terraform_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(SetupMissing, match="neither terraform nor tofu"):
        terraform_binary(str(tmp_path))


def test_the_first_error_is_found_under_terraform_s_decoration() -> None:
    output = "\n╷\n│ Error: Quota exceeded\n│ \n│   with openstack_x.y,\n│   on main.tf line 1\n╵\n╷\n│ Error: second\n╵\n"
    assert first_error(output).startswith("Quota exceeded")
    assert "second" not in first_error(output)
    assert first_error("") == "terraform printed nothing"


def test_a_module_is_initialised_once_and_again_when_its_text_changes(module: Module) -> None:
    module.apply("job-1", {"size": 1}, 60)
    marker = module.home / "initialised"
    first = os.stat(marker).st_mtime_ns
    module.apply("job-2", {"size": 1}, 60)
    assert os.stat(marker).st_mtime_ns == first
    (module.path / "main.tf").write_text(MODULE + "\n")
    module.apply("job-2", {"size": 1}, 60)
    assert os.stat(marker).st_mtime_ns > first
