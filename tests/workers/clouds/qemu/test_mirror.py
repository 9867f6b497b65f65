"""Plain terraform finds the provider, and its checksum is the one in the lock files."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from server.workers.clouds.qemu.images.mirror import PLATFORM, SCRIPT, install_mirror
from server.workers.clouds.qemu.paths import PROVIDER_ADDRESS, PROVIDER_VERSION, QemuHome

BINARY = f"terraform-provider-qemu_v{PROVIDER_VERSION}"


def h1(name: str, content: bytes) -> str:
    """Terraform's checksum of a folder with one file (https://pkg.go.dev/golang.org/x/mod/sumdb/dirhash)."""
    line = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    return "h1:" + base64.b64encode(hashlib.sha256(line.encode()).digest()).decode()


@pytest.mark.parametrize("module", ["worker", "template"])
def test_the_lock_file_has_the_checksum_of_what_is_installed(module: str) -> None:
    lock = (CHECKOUT / "infra" / "terraform" / "qemu" / module / ".terraform.lock.hcl").read_text()
    assert re.findall(r'"(h1:[^"]+)"', lock) == [h1(BINARY, SCRIPT.encode())]
    assert f'provider "{PROVIDER_ADDRESS}"' in lock


def test_two_installations_have_the_same_file(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        install_mirror(QemuHome(tmp_path / name))
        found += list((tmp_path / name / "terraform" / "mirror").rglob("*provider*"))
    assert found[0].read_bytes() == found[1].read_bytes() == SCRIPT.encode()
    assert found[0].parent.name == PLATFORM
    assert [path.name for path in found[0].parent.iterdir()] == [BINARY]
    assert found[0].stat().st_mode & 0o111


def test_the_configuration_names_the_mirror(tmp_path: Path) -> None:
    home = QemuHome(tmp_path / 'a "quoted" home')
    install_mirror(home)
    assert 'a \\"quoted\\" home/terraform/mirror"' in home.terraform_rc.read_text()


def test_installing_twice_changes_nothing(tmp_path: Path) -> None:
    home = QemuHome(tmp_path)
    install_mirror(home)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    install_mirror(home)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_no_link_leads_back_to_the_checkout(tmp_path: Path) -> None:
    install_mirror(QemuHome(tmp_path))
    links = [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert links
    assert not [path for path in links if CHECKOUT.is_relative_to(path.resolve())]
