"""Converters from archives: nothing but the archive that was meant gets onto a worker."""

import hashlib
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
    - ansible.builtin.include_role:
        name: converters
        tasks_from: archive
"""


def install(tmp_path: Path, archive: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    variables = {"converters_archive": {"name": "nothing", "program": "x", "command": "x", **archive}}
    options = [
        "-c",
        "local",
        "-i",
        "localhost,",
        "-e",
        json.dumps(variables),
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    ]
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(play), *options]
    environment = {
        "ANSIBLE_ROLES_PATH": str(CHECKOUT / "infra" / "ansible" / "roles"),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    path = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment | path, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kind", ["path", "url"])
def test_an_archive_with_another_checksum_is_refused(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "converter.tar"
    archive.write_text("not the one")
    expected = hashlib.sha256(b"the one").hexdigest()
    where = str(archive) if kind == "path" else archive.as_uri()
    done = install(tmp_path, {kind: where, "sha256": expected})
    assert done.returncode == 2
    assert expected in done.stdout
    assert where in done.stdout
    assert "checksum" in done.stdout
    assert "undefined" not in done.stdout
    assert not Path("/opt/nothing").exists()
