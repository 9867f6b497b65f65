"""Packages of which a release may lack some: asked of this computer's own apt."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import CHECKOUT

PLAY = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: packages, tasks_from: choose}
    - ansible.builtin.copy:
        content: "{{ [packages_chosen, packages_missing] | to_json }}"
        dest: "{{ found }}"
        mode: "0600"
"""


def choose(tmp_path: Path, *wanted: str, required: bool = False) -> "subprocess.CompletedProcess[str]":
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    variables = {
        "packages_wanted": wanted,
        "packages_for": "apps",
        "packages_required": required,
        "found": str(tmp_path / "found.json"),
        "ansible_python_interpreter": sys.executable,
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(play), "-c", "local", "-i", "localhost,"]
    environment = {
        "ANSIBLE_ROLES_PATH": str(CHECKOUT / "infra" / "ansible" / "roles"),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        [*command, "-e", json.dumps(variables)],
        env={**environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_the_release_has_is_chosen_and_what_it_lacks_is_named(tmp_path: Path) -> None:
    done = choose(tmp_path, "coreutils", "no-such-name|bash", "nothing-of-this-name", "neither-this|nor-that")
    assert done.returncode == 0, done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == [["coreutils", "bash"], ["nothing-of-this-name", "neither-this|nor-that"]]


def test_no_packages_are_no_question(tmp_path: Path) -> None:
    assert choose(tmp_path).returncode == 0
    assert json.loads((tmp_path / "found.json").read_text()) == [[], []]


@pytest.mark.parametrize("wanted", ["nothing-of-this-name", "neither-this|nor-that"])
def test_what_a_worker_cannot_do_without_is_refused_by_name(tmp_path: Path, wanted: str) -> None:
    done = choose(tmp_path, "coreutils", wanted, required=True)
    assert done.returncode == 2
    assert f"this release has no package {wanted}" in done.stdout
