"""Each command under "Looking at machines with plain terraform" is run on a machine with that trouble, and cures it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.app import Controller, make_module
from server.catalog.flavors import Flavor
from server.db.models import Worker
from server.db.transitions import Change, create
from server.settings import CHECKOUT
from server.states import WorkerState
from server.workers.terraform.module import TerraformModule, terraform_binary
from tests.workers.test_terraform import hold

pytestmark = pytest.mark.system

OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()
SECTION = OPERATIONS.partition("## Looking at machines with plain terraform\n")[2].partition("\n## ")[0]
FIRST, *TROUBLES = re.split(r"^### ", SECTION, flags=re.MULTILINE)
NAME = "job-7"


def blocks(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Site:
    """An installation with the machine ``job-7``, and where its things are."""

    controller: Controller
    module: TerraformModule

    @property
    def state(self) -> Path:
        return self.module.store.state_file(NAME)

    @property
    def machine(self) -> Path:
        return self.controller.settings.home / "local" / NAME

    def row(self) -> None:
        create(Worker, Change(1.0), name=NAME, flavor="m1.4xlarge", weight=1, state=WorkerState.BUSY)

    def terraform(self, *arguments: str) -> None:
        environment = {**os.environ, **self.module.environment(NAME)}
        command = [terraform_binary(), f"-chdir={self.module.path}", *arguments]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    def listed(self) -> dict[str, dict[str, object]]:
        return {one["worker"]: one for one in json.loads(self.run("cumulus state --json"))}

    def run(self, script: str) -> str:
        """As an administrator's shell; whoever asks for a confirmation gets it."""
        settings = self.controller.settings
        programs = f"{Path(sys.executable).parent}{os.pathsep}{Path(terraform_binary()).parent}"
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CHECKPOINT_DISABLE": "1",
            "CUMULUS_HOME": str(settings.home),
            "CUMULUS_CLOUD": "local",
            "CUMULUS_APPS": str(settings.apps),
            "CUMULUS_FLAVORS": str(settings.flavors),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=CHECKOUT,
            env=environment,
            input="yes\n" * 3,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def site(controller: Controller) -> Site:
    made = Site(controller, make_module(controller.settings, controller.cloud))
    made.module.apply(NAME, controller.cloud.terraform_vars(NAME, Flavor("m1.4xlarge", 1, 1, 1)), 60)
    return made


def gone(site: Site) -> bool:
    return not site.machine.exists() and site.module.store.names() == []


def emptied(site: Site) -> Callable[[], bool]:
    site.row()
    site.state.write_text("")
    return lambda: gone(site)


def halved(site: Site) -> Callable[[], bool]:
    site.row()
    site.state.write_text(site.state.read_text()[:100])
    return lambda: gone(site)


def without_row(site: Site) -> Callable[[], bool]:
    assert "no row knows it" in str(site.listed()[NAME]["troubles"])
    return lambda: gone(site)


def without_workspace(site: Site) -> Callable[[], bool]:
    site.row()
    site.module.destroy(NAME, 60)
    assert f"{NAME} is busy and has no workspace" in site.run("cumulus state")
    return lambda: Worker.get(Worker.name == NAME).state == WorkerState.DELETED


def locked_by_the_dead(site: Site) -> Callable[[], bool]:
    with hold(site.state, 600) as holder:
        holder.kill()
    assert site.listed()[NAME]["lock"] is not None
    return lambda: site.listed()[NAME]["lock"] is None and site.machine.is_dir()


def tainted(site: Site) -> Callable[[], bool]:
    site.row()
    site.terraform("taint", "terraform_data.worker")
    assert site.listed()[NAME]["tainted"] == ["terraform_data.worker"]

    def cured() -> bool:
        # A plain terraform runs no provisioner where a tainted resource goes, and this cloud's machines go by one: the sweeper's.
        return site.module.store.names() == [] or site.listed()[NAME]["tainted"] == []

    return cured


def differing(site: Site) -> Callable[[], bool]:
    site.row()
    site.state.write_text(site.state.read_text().replace('"value": "localhost"', '"value": "elsewhere"'))
    found = json.loads(site.run("cumulus state --drift --json"))[0]["drift"]
    assert found["found"] == "drift"
    return lambda: json.loads(site.run("cumulus state --drift --json"))[0]["drift"]["found"] == "none"


def to_be_forgotten(site: Site) -> Callable[[], bool]:
    def forgotten() -> bool:
        left = site.listed().get(NAME, {}).get("resources")
        return site.machine.is_dir() and left in (None, ["terraform_data.worker"])

    return forgotten


SETUPS = {
    "The state is empty, and the machine still runs": emptied,
    "The state cannot be read": halved,
    "A workspace that no row knows": without_row,
    "A row without a workspace": without_workspace,
    "A lock is left": locked_by_the_dead,
    "A resource is tainted, a server is in ERROR": tainted,
    "The state differs from the cloud": differing,
    "Terraform should no longer know a machine": to_be_forgotten,
}
HELD = "A lock is held by a process that hangs"


def cures() -> Iterator[tuple[str, str]]:
    for text in TROUBLES:
        heading = text.partition("\n")[0]
        if heading != HELD:
            yield from ((heading, block) for block in blocks(text))


def held_cures() -> list[str]:
    return [block for text in TROUBLES if text.startswith(HELD) for block in blocks(text)]


def with_preparation(block: str) -> str:
    (preparation,) = blocks(FIRST)
    exports = [line for line in preparation.splitlines() if line.startswith(("eval", "export", "cd"))]
    return "\n".join(exports) + "\n" + block if "terraform" in block or "$" in block else block


def test_every_trouble_is_tried() -> None:
    headings = {text.partition("\n")[0] for text in TROUBLES}
    assert headings == {*SETUPS, HELD}
    assert all(blocks(text) for text in TROUBLES)


def test_all_can_be_seen_with_plain_terraform(site: Site) -> None:
    (block,) = blocks(FIRST)
    before = site.state.read_bytes()
    told = site.run(block)
    assert NAME in told
    assert "terraform_data.worker" in told
    assert 'address = "localhost"' in told
    assert "No changes" in told
    assert site.state.read_bytes() == before


@pytest.mark.parametrize(("heading", "block"), list(cures()))
def test_what_is_said_cures_the_trouble(site: Site, heading: str, block: str) -> None:
    is_cured = SETUPS[heading](site)
    assert not is_cured() or heading.startswith("Terraform should no longer")
    site.run(with_preparation(block))
    assert is_cured()


@pytest.mark.parametrize("block", held_cures())
def test_what_is_said_ends_whoever_holds_a_lock(site: Site, block: str) -> None:
    with hold(site.state, 600) as holder:
        site.run(with_preparation(block))
        assert holder.wait(10) == -2
    lock = site.module.locks.state_lock(NAME)
    assert lock is None or not lock.is_held


def test_the_words_that_it_names_are_terraform_s(site: Site) -> None:
    (site.state.parent / ".terraform.tfstate.lock.info").write_text("{}")
    said = site.run(with_preparation("terraform force-unlock -force 1 2>&1 || true"))
    assert "LocalState not locked" in said
    site.state.write_text("")
    said = site.run(with_preparation("terraform state list 2>&1 || true"))
    assert "No state file was found!" in said
    said = site.run(with_preparation('terraform destroy -auto-approve -var-file="$VARS/job-7.tfvars.json"'))
    assert "0 destroyed" in said
    assert site.machine.is_dir()
