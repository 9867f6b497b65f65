"""The workspaces as an administrator sees them, with the real terraform and a marker that it reads."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import InfrastructureError, InvalidInput, NotFound
from server.settings import Settings
from server.workers.clouds.base import Resource
from server.workers.clouds.local import LocalCloud
from server.workers.machine_locks import exclusive
from server.workers.terraform.module import TerraformError, TerraformModule, terraform_binary
from server.workers.terraform.state_lock import StillLocked
from server.workers.workspaces import Drift, Workspaces, failures
from tests.workers.test_terraform import hold

# What a cloud's own provider reads again at a refresh is a file here.
MODULE = """
terraform {
  backend "local" {}
}
variable "marker" {
  type = string
}
resource "terraform_data" "worker" {
  input = "made"
}
output "marker" {
  description = "What the marker says"
  value       = fileexists(var.marker) ? file(var.marker) : "gone"
}
"""
Seen = dict[str, Drift]


@pytest.fixture
def module(tmp_path: Path) -> TerraformModule:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.tf").write_text(MODULE)
    return TerraformModule(source, tmp_path / "terraform", terraform_binary(), dict)


@pytest.fixture
def workspaces(cloud: LocalCloud, module: TerraformModule) -> Workspaces:
    cloud.start()
    return Workspaces(cloud, module)


@pytest.fixture
def make(module: TerraformModule, tmp_path: Path) -> Callable[[str], Path]:
    def made(name: str) -> Path:
        marker = tmp_path / f"{name}.marker"
        marker.write_text("as it was")
        module.apply(name, {"marker": str(marker)}, 60)
        return marker

    return made


def drifts(workspaces: Workspaces, *names: str, limit_s: float = 60) -> Seen:
    return {name: workspaces.drift(name, limit_s) for name in names}


def test_what_changed_behind_terraform_s_back_is_seen_and_the_state_left_as_it_is(
    workspaces: Workspaces, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    marker, _ = make("job-1"), make("job-2")
    files = {name: module.store.state_file(name).read_bytes() for name in ("job-1", "job-2")}
    assert set(drifts(workspaces, "job-1", "job-2").values()) == {Drift("none")}
    marker.write_text("changed")
    found = drifts(workspaces, "job-1", "job-2")
    assert found == {"job-1": Drift("drift", 'output marker: "as it was" → "changed"'), "job-2": Drift("none")}
    assert {name: module.store.state_file(name).read_bytes() for name in files} == files
    assert sorted(path.name for path in module.store.state_file("job-1").parent.iterdir()) == ["terraform.tfstate"]


def test_looking_for_drift_hinders_no_terraform_and_is_not_done_beside_one(
    workspaces: Workspaces, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    make("job-1")
    with hold(module.store.state_file("job-1"), 600) as holder:
        assert drifts(workspaces, "job-1")["job-1"] == Drift("unknown", "a terraform is at work on it")
        holder.kill()
    with exclusive(module.home / "workspaces.lock", "job-1", 1):
        assert drifts(workspaces, "job-1")["job-1"].found == "unknown"


def test_what_cannot_be_told_is_said_for_each_and_spoils_no_other(
    workspaces: Workspaces, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    for name in ("job-1", "job-2", "job-3"):
        make(name)
    module.store.state_file("job-1").write_text("")
    (module.home / "vars" / "job-2.tfvars.json").unlink()
    found = drifts(workspaces, "job-1", "job-2", "job-3")
    assert found["job-1"] == Drift("unknown", "there is nothing in its state")
    assert found["job-2"].found == "unknown"
    assert "job-2.tfvars.json" in found["job-2"].text
    assert found["job-3"] == Drift("none")
    with pytest.raises(NotFound, match="there is no workspace job-4"):
        drifts(workspaces, "job-4")


def test_a_plan_that_hangs_is_ended_in_time(
    cloud: LocalCloud, module: TerraformModule, make: Callable[[str], Path], tmp_path: Path
) -> None:
    make("job-1")
    slow = tmp_path / "slow"
    slow.write_text('#!/bin/sh\ncase "$1" in plan) exec sleep 60;; esac\n')
    slow.chmod(0o755)
    begin = time.monotonic()
    found = drifts(Workspaces(cloud, TerraformModule(module.path, module.home, str(slow), dict)), "job-1", limit_s=1)
    assert "took longer than" in found["job-1"].text
    assert time.monotonic() - begin < 10


def test_a_plan_leaves_no_folder_of_a_workspace_that_went_meanwhile(
    module: TerraformModule, make: Callable[[str], Path], tmp_path: Path
) -> None:
    make("job-1")
    variables = (module.home / "vars" / "job-1.tfvars.json").read_text()
    module.destroy("job-1", 60)
    (module.home / "vars" / "job-1.tfvars.json").write_text(variables)
    (tmp_path / "scratch").mkdir()
    module.drift("job-1", 60, tmp_path / "scratch")
    assert module.store.workspaces() == []


def test_the_list_tells_version_resources_taint_and_lock(
    workspaces: Workspaces, module: TerraformModule, make: Callable[[str], Path], cloud: LocalCloud, settings: Settings
) -> None:
    make("job-1")
    (settings.home / "local" / "job-1").mkdir()
    ((one,), why) = workspaces.listed()
    assert (one.worker, one.resources, one.tainted, one.readable, one.alive, one.lock, why) == (
        "job-1",
        ["terraform_data.worker"],
        [],
        True,
        True,
        None,
        "",
    )
    assert one.serial == json.loads(module.store.state_file("job-1").read_text())["serial"]
    command = [terraform_binary(), f"-chdir={module.path}", "taint", "terraform_data.worker"]
    subprocess.run(command, check=True, env={**module.environment("job-1")}, stdout=subprocess.DEVNULL)
    with hold(module.store.state_file("job-1"), 600) as holder:
        ((held,), _) = workspaces.listed()
        assert (held.tainted, held.lock and held.lock.pid) == (["terraform_data.worker"], holder.pid)
        holder.kill()


@pytest.mark.parametrize("text", ["[]", "{", "7", '{"resources": 7}', '{"resources": [7, {}], "serial": "x"}', "\x00"])
def test_a_state_that_is_garbage_is_listed_all_the_same(workspaces: Workspaces, module: TerraformModule, text: str) -> None:
    module.store.state_file("job-1").parent.mkdir(parents=True)
    module.store.state_file("job-1").write_text(text)
    ((one,), _) = workspaces.listed()
    assert (one.worker, one.serial) == ("job-1", 0)
    drifts(workspaces, "job-1")


class SilentCloud(LocalCloud):
    """One that does not answer."""

    def resources(self, worker: str = "") -> list[Resource]:
        raise InfrastructureError("the cloud does not answer")


def test_the_list_is_there_while_the_cloud_is_not(
    settings: Settings, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    make("job-1")
    ((one,), why) = Workspaces(SilentCloud(settings, "ctest"), module).listed()
    assert (one.alive, one.resources, why) == (None, ["terraform_data.worker"], "the cloud does not answer")


def test_a_lock_is_cleared_where_its_process_is_gone_or_is_ended_on_request(
    workspaces: Workspaces, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    make("job-1")
    assert workspaces.unlock("job-1", force=False) is None
    with hold(module.store.state_file("job-1"), 600) as holder:
        with pytest.raises(StillLocked, match=f"process {holder.pid}.*--force"):
            workspaces.unlock("job-1", force=False)
        assert holder.poll() is None
        lock = workspaces.unlock("job-1", force=True)
        assert (lock and lock.pid, holder.wait(5)) == (holder.pid, -2)
    with hold(module.store.state_file("job-1"), 600) as holder:
        holder.kill()
    lock = workspaces.unlock("job-1", force=False)
    assert lock is not None
    assert lock.pid is None
    assert workspaces.unlock("job-1", force=False) is None


def test_a_state_is_set_aside_but_not_under_a_terraform_at_work(
    workspaces: Workspaces, module: TerraformModule, make: Callable[[str], Path], settings: Settings
) -> None:
    make("job-1")
    (settings.home / "local" / "job-1").mkdir()
    with hold(module.store.state_file("job-1"), 600) as holder:
        with pytest.raises(StillLocked, match="at work on job-1"):
            workspaces.set_aside("job-1")
        holder.kill()
    before = module.store.state_file("job-1").read_bytes()
    aside, left = workspaces.set_aside("job-1")
    assert aside is not None
    assert (aside / "terraform.tfstate").read_bytes() == before
    assert [(one.kind, one.worker) for one in left or ()] == [("machine", "job-1")]
    assert module.store.names() == []
    assert workspaces.set_aside("job-1")[0] is None


@pytest.mark.parametrize(
    "name", ["../x", "job-1/..", "/etc/passwd", "-rf", "--force", "job-1\x1b[2J", "", " ", "a" * 80, "Job-1", "job 1", "job-1\n"]
)
def test_a_name_is_no_path_no_option_and_no_escape(workspaces: Workspaces, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        workspaces.require(name)
    assert caught.value.message.isprintable()
    assert caught.value.field == "name"


def test_a_name_that_nobody_has_is_not_found(workspaces: Workspaces, settings: Settings) -> None:
    with pytest.raises(NotFound, match="no workspace job-9"):
        workspaces.require("job-9")
    (settings.home / "local" / "job-9").mkdir()
    workspaces.require("job-9")


def test_no_two_terraforms_are_at_one_workspace(module: TerraformModule, make: Callable[[str], Path], tmp_path: Path) -> None:
    """Each leaves a word when it begins and when it ends; the words of two are never mixed."""
    make("job-1")
    ledger, slow = tmp_path / "ledger", tmp_path / "slow"
    slow.write_text(
        f'#!/bin/sh\necho begin >> {ledger}; {terraform_binary()} "$@"; code=$?; sleep 0.5; echo end >> {ledger}; exit $code\n'
    )
    slow.chmod(0o755)
    both = [TerraformModule(module.path, module.home, str(slow), dict) for _ in range(2)]
    for one in both:
        one._init()
    ledger.unlink(missing_ok=True)
    threads = [threading.Thread(target=one.destroy, args=("job-1", 60)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ledger.read_text().split() == ["begin", "end"]
    assert module.store.workspaces() == []


def test_a_workspace_that_another_process_is_at_is_said_to_be(module: TerraformModule, make: Callable[[str], Path]) -> None:
    make("job-1")
    with exclusive(module.home / "workspaces.lock", "job-1", 1), pytest.raises(InfrastructureError, match="another process"):
        module.destroy("job-1", 0.1)
    with pytest.raises(TerraformError):
        module.set_aside("../x")


@pytest.mark.parametrize(("state", "own", "words"), [("", True, "no row knows it"), ("", False, ""), ("busy", True, "")])
def test_a_workspace_without_a_row_is_a_trouble_only_where_jobs_have_such_names(
    workspaces: Workspaces, make: Callable[[str], Path], state: str, own: bool, words: str
) -> None:
    make("job-1")
    ((one,), _) = workspaces.listed()
    found = failures(one, state, own=own)
    assert len(found) == bool(words)
    assert all(words in text for text in found)
