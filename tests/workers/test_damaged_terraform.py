"""Terraform's own files, damaged one by one, with the real terraform: the next machine is made, and the former one removed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.app import make_fleet, make_module
from server.catalog.flavors import Flavor
from server.settings import Settings
from server.workers.clouds.local import LocalCloud
from server.workers.fleet import Fleet, MachineSilent
from server.workers.terraform.module import TerraformModule
from tests.faults.home import KINDS

FLAVOR = Flavor("m1.4xlarge", 1, 1, 1)
LIMIT_S = 60.0
ALL = sorted(set(KINDS) - {"foreign", "read_only"})
OFTEN = ("garbage", "fifo")
STATE = "state/workspaces/job-1/terraform.tfstate"
FILES = (
    "data/terraform.tfstate",
    "initialised",
    "init.lock",
    "workspaces.lock",
    "output/default.txt",
    "output/job-1.txt",
    "vars/job-1.tfvars.json",
    STATE,
    "state/workspaces/job-1/terraform.tfstate.backup",
    "state/workspaces/job-1/.terraform.tfstate.lock.info",
    "state/terraform.tfstate",
)


def cells() -> list[object]:
    """File and kind; the seldom ones only in the long run."""
    return [pytest.param(name, kind, marks=() if kind in OFTEN else pytest.mark.long) for name in FILES for kind in ALL]


@pytest.fixture
def parts(settings: Settings, cloud: LocalCloud) -> tuple[TerraformModule, LocalCloud, Fleet]:
    """The worker module with one machine."""
    cloud.start()
    module = make_module(settings, cloud)
    module.apply("job-1", cloud.terraform_vars("job-1", FLAVOR), LIMIT_S)
    return module, cloud, make_fleet(settings, cloud)


@pytest.mark.parametrize(("name", "kind"), cells())
def test_a_damaged_file_stops_no_other_machine_and_leaks_none(
    parts: tuple[TerraformModule, LocalCloud, Fleet], tmp_path: Path, name: str, kind: str
) -> None:
    module, cloud, fleet = parts
    path = module.home / name
    if not path.exists():
        path.write_bytes(b"{}")
    KINDS[kind](path)
    fleet.remove("job-1", tmp_path, at_rest=True)
    assert cloud.resources() == []
    assert fleet.workspaces() == []
    assert module.apply("job-2", cloud.terraform_vars("job-2", FLAVOR), LIMIT_S)["id"] == "job-2"


def half(text: str) -> str:
    return text[: len(text) // 2]


def without_version(text: str) -> str:
    return json.dumps({name: value for name, value in json.loads(text).items() if name != "version"})


def outputs_as_a_list(text: str) -> str:
    return json.dumps({**json.loads(text), "outputs": [1, 2]})


def resources_as_words(text: str) -> str:
    return json.dumps({**json.loads(text), "resources": ["a", "b"]})


@pytest.mark.parametrize("change", [half, without_version, outputs_as_a_list, resources_as_words])
def test_what_only_looks_like_a_state_is_kept_aside_and_its_machine_made_anew(
    parts: tuple[TerraformModule, LocalCloud, Fleet], change: Callable[[str], str]
) -> None:
    module, cloud, _ = parts
    path = module.store.state_file("job-1")
    path.write_text(changed := change(path.read_text()))
    assert not module.store.is_readable("job-1")
    assert module.store.outputs("job-1") == {}
    assert module.apply("job-1", cloud.terraform_vars("job-1", FLAVOR), LIMIT_S)["id"] == "job-1"
    (kept,) = (module.home / "broken").iterdir()
    assert (kept / "terraform.tfstate").read_text() == changed


def test_a_machine_that_waited_ready_and_is_in_no_state_any_more_is_not_started(
    parts: tuple[TerraformModule, LocalCloud, Fleet], tmp_path: Path
) -> None:
    module, _, fleet = parts
    module.store.state_file("job-1").write_bytes(b"}{")
    with pytest.raises(MachineSilent, match="not in its state"):
        fleet.start("job-1", fleet.layout("job-1", tmp_path), on_machine=lambda _: None, unwanted=lambda: False)


def test_a_file_in_the_place_of_a_workspace_is_no_machine_for_ever(
    parts: tuple[TerraformModule, LocalCloud, Fleet], tmp_path: Path
) -> None:
    module, cloud, fleet = parts
    (module.store.states / "job-7").write_text("not a folder")
    (module.store.states / "No Workspace").mkdir()
    (tmp_path / "home" / "local" / "job-8").write_text("not a machine")
    for worker in ("job-7", "job-8"):
        fleet.remove(worker, tmp_path, at_rest=True)
    assert fleet.workspaces() == ["job-1"]
    assert [one.worker for one in cloud.resources()] == ["job-1"]


def test_folders_whose_place_something_else_has_are_made_again(
    parts: tuple[TerraformModule, LocalCloud, Fleet], tmp_path: Path
) -> None:
    module, cloud, fleet = parts
    fleet.remove("job-1", tmp_path, at_rest=True)
    for name in ("data", "output", "vars", "state"):
        (module.home / name).rename(module.home / f"{name}.former")
        (module.home / name).write_text("not a folder")
    assert module.apply("job-2", cloud.terraform_vars("job-2", FLAVOR), LIMIT_S)["id"] == "job-2"


def test_a_provider_that_is_not_as_init_has_left_it_is_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in terraform's place that installs a provider as init does, and wants it whole at each apply."""
    source, program = tmp_path / "source", tmp_path / "terraform"
    source.mkdir()
    (source / "main.tf").write_text("terraform { required_providers {} }\n")
    program.write_text(
        '#!/bin/sh\nplugin="$TF_DATA_DIR/providers/x/plugin"\ncase "$1" in\n'
        'init) mkdir -p "$TF_DATA_DIR/providers/x"; [ -e "$plugin" ] || echo whole > "$plugin"; '
        'echo {} > "$TF_DATA_DIR/terraform.tfstate";;\n'
        '*) grep -q whole "$plugin" || { echo "Error: Required plugins are not installed"; exit 1; }; '
        'mkdir -p "$STATES/job-1"; cp "$STATE" "$STATES/job-1/terraform.tfstate";;\nesac\n'
    )
    program.chmod(0o755)
    state = tmp_path / "state"
    state.write_text(json.dumps({"version": 4, "outputs": {"id": {"value": "x"}}, "resources": []}))
    home = tmp_path / "home"
    own = {"STATES": str(home / "state" / "workspaces"), "STATE": str(state), "PATH": os.environ["PATH"]}
    module = TerraformModule(source, home, str(program), lambda: own)
    assert module.apply("job-1", {}, LIMIT_S) == {"id": "x"}
    for text in ("", "garbage"):
        (home / "data" / "providers" / "x" / "plugin").write_text(text)
        assert module.apply("job-1", {}, LIMIT_S) == {"id": "x"}
    (home / "module" / "main.tf").write_text("}{")
    assert module.apply("job-1", {}, LIMIT_S) == {"id": "x"}
    assert (home / "module" / "main.tf").read_text() == "terraform { required_providers {} }\n"
