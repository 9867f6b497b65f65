"""The template on a real OpenStack: built, copied, tried, promoted, rolled back, pruned, and broken off by Ctrl-C on the way.

On emulated machines it takes half an hour, most of it building.
"""

import os
import subprocess
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from server.workers.clouds.registry import make_cloud
from tests.openstack.conftest import APP
from tests.openstack.installation import COMMAND_LIMIT_S, Installation

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(3 * COMMAND_LIMIT_S)]


def test_a_template_is_built_though_the_play_was_broken_off(installation: Installation) -> None:
    if not installation.kept:
        installation.break_off("template", "build", at="Installing")
    installation.run("template", "build")
    assert "There is a template already" in installation.run("template", "build")
    assert installation.left() == []


def test_a_snapshot_is_promoted_after_its_canary_has_run_the_app(installation: Installation) -> None:
    told = installation.run("snapshot", "create")
    assert f"{APP}: " in told
    assert installation.promoted() == [f"{installation.template}-1"]
    assert installation.left() == []


def test_a_snapshot_that_is_broken_off_leaves_nothing_and_the_next_one_is_promoted(installation: Installation) -> None:
    for moment in ("Copying the template's volume", "Starting a machine of snapshot", "Trying the apps"):
        installation.break_off("snapshot", "create", at=moment)
        assert installation.promoted() == [f"{installation.template}-1"]
        assert installation.left() == []
    installation.run("snapshot", "create")
    assert installation.promoted() == [f"{installation.template}-2"]


def test_an_app_that_does_not_run_promotes_nothing(installation: Installation) -> None:
    app = installation.settings.apps / f"{APP}.xml"
    text = app.read_text()
    app.write_text(text.replace("tandem &lt;", "no-such-tandem &lt;"))
    process = installation.start("snapshot", "create")
    told, _ = process.communicate(timeout=COMMAND_LIMIT_S)
    app.write_text(text)
    assert process.returncode != 0
    assert f"the app {APP} does not run in the new snapshot" in told
    assert installation.promoted() == [f"{installation.template}-2"]
    assert installation.left() == []


def test_what_was_installed_by_hand_is_in_the_next_snapshot(installation: Installation) -> None:
    login = installation.run("template", "boot").strip().splitlines()[-1]
    subprocess.run([*login.split(), "sudo touch /var/lib/cumulus/by-hand"], check=True, timeout=120)
    installation.run("snapshot", "create")
    assert installation.promoted() == [f"{installation.template}-3"]
    assert installation.left() == []


def test_the_former_one_is_promoted_again_and_old_ones_go(installation: Installation) -> None:
    assert f"{installation.template}-2 is promoted again" in installation.run("snapshot", "rollback")
    assert installation.promoted() == [f"{installation.template}-2"]
    installation.run("snapshot", "rollback")
    assert installation.promoted() == [f"{installation.template}-1"]
    assert f"removed {installation.template}-2" in installation.run("snapshot", "prune", "--keep", "1")
    assert installation.names() == [f"{installation.template}-1", f"{installation.template}-3"]


def test_an_erased_home_finds_template_and_promoted_snapshot_again(installation: Installation, tmp_path: Path) -> None:
    settings = installation.settings.model_copy(update={"home": tmp_path})
    cloud = make_cloud(settings)
    assert cloud.images.template().exists()
    assert cloud.images.current() == f"{installation.template}-1"


def test_terraform_does_not_destroy_the_volume(installation: Installation) -> None:
    cloud, home = make_cloud(installation.settings), installation.settings.home / "terraform" / "openstack-template"
    module = next(path for path in (home / "module", CHECKOUT / "infra/terraform/openstack/template") if path.is_dir())
    environment = {**os.environ, **cloud.terraform_env(), "TF_DATA_DIR": str(home / "data"), "TF_WORKSPACE": "template-1"}
    words = ["terraform", "destroy", "-auto-approve", "-no-color", f"-var-file={home / 'vars' / 'template-1.tfvars.json'}"]
    done = subprocess.run(words, cwd=module, env=environment, capture_output=True, text=True, timeout=300)
    if not installation.kept:  # else Terraform knows it by its id only, and leaves it alone
        assert done.returncode != 0
        assert "Instance cannot be destroyed" in done.stdout + done.stderr
    assert cloud.images.template().exists()
