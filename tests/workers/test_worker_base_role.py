"""What the role for workers does differently for each cloud, as Ansible itself works it out; nothing is installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.settings import CHECKOUT

ROLE = CHECKOUT / "infra" / "ansible" / "roles" / "worker_base"
PLAY = """\
- hosts: localhost
  gather_facts: false
  vars_files: ["{role}/defaults/main.yml"]
  vars:
    sshd: "{{{{ lookup('template', '{role}/templates/sshd.conf.j2') }}}}"
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ {{'sshd': sshd, 'masked': worker_base_masked_units}} | to_json }}}}"
        dest: "{told}"
        mode: "0644"
"""


def worked_out(tmp_path: Path, cloud: str) -> Any:
    told, play = tmp_path / "told.json", tmp_path / "play.yml"
    play.write_text(PLAY.format(role=ROLE, told=told))
    variables = {"worker_base_cloud": cloud, "ansible_managed": "x", "ansible_python_interpreter": sys.executable}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(play), "-c", "local", "-i", "localhost,"]
    done = subprocess.run([*command, "-e", json.dumps(variables)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(told.read_text())


def test_sshd_does_without_pam_only_where_nobodys_password_is_locked(tmp_path: Path) -> None:
    assert "UsePAM no" in worked_out(tmp_path, "qemu")["sshd"].splitlines()
    assert "UsePAM" not in worked_out(tmp_path, "openstack")["sshd"]


@pytest.mark.parametrize(("cloud", "waits"), [("qemu", False), ("openstack", True)])
def test_only_a_cloud_with_cloud_init_waits_for_the_network(tmp_path: Path, cloud: str, waits: bool) -> None:
    masked = worked_out(tmp_path, cloud)["masked"]
    assert "apt-daily.timer" in masked
    assert ("systemd-networkd-wait-online.service" not in masked) == waits
