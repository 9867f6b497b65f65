"""A controller's set-up: the role and the guideline for people say the same, and the files that both install are sound."""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

from server.db.connection import open_database
from server.settings import CHECKOUT
from tests.test_serve import environment

__all__ = ["environment"]

SCRIPT = CHECKOUT / "scripts" / "controller.sh"
FILES = CHECKOUT / "scripts" / "controller"
ROLE = CHECKOUT / "infra" / "ansible" / "roles" / "controller"
TEXT = SCRIPT.read_text()
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
TASKS = "".join(path.read_text() for path in sorted(ROLE.glob("tasks/*.yml")))
TEMPLATES = {path.name: path.read_text() for path in ROLE.glob("templates/*.j2")}
UNITS = sorted(path.name for path in FILES.iterdir() if path.suffix in {".service", ".timer", ".mount"})


def words(name: str) -> list[str]:
    """The words of an array of the script."""
    found = re.search(rf"^{name}=\(([^)]*)\)", TEXT, re.MULTILINE)
    assert found, name
    return found[1].split()


def places(text: str) -> set[str]:
    """Files and folders of a controller that a text names, without what differs from site to site."""
    found = re.findall(r"/(?:etc|srv|var/lib|var/backups|usr/local)/[A-Za-z0-9._/-]*[A-Za-z0-9]", text)
    return {path for path in found if not path.startswith("/var/lib/nfs")}


def test_both_install_the_same_packages() -> None:
    assert words("packages") == DEFAULTS["controller_packages"]
    assert words("proxy_packages") == DEFAULTS["controller_proxy_packages"]


def test_both_install_the_same_terraform() -> None:
    assert f"terraform_version={DEFAULTS['controller_terraform_version']}\n" in TEXT
    assert f"terraform_sha256={DEFAULTS['controller_terraform_sha256']['amd64']} " in TEXT
    assert f"terraform_url={DEFAULTS['controller_terraform_base_url']}/$terraform_version/" in TEXT


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_both_install_every_file(name: str) -> None:
    if name == "cumulus-backup":  # the backup's unit runs it from the checkout
        assert f"scripts/controller/{name} " in (FILES / "cumulus-backup.service").read_text()
        return
    assert f"$files/{name}" in TEXT, name
    assert name in TASKS, name


def test_both_put_things_in_the_same_places() -> None:
    by_role = places(TASKS + "".join(TEMPLATES.values())) | {"/etc/cumulus/" + name.removesuffix(".j2") for name in TEMPLATES}
    by_hand = places(TEXT.replace("{data,jobs,converted}", "data"))
    # The role names some files by a variable: their folder, then.
    unknown = [path for path in by_hand if path not in by_role and path.rpartition("/")[0] not in by_role]
    assert [path for path in unknown if not any(other.startswith(path) for other in by_role)] == []
    for path in (
        "/etc/exports.d/cumulus.exports",
        "/etc/nftables.conf",
        "/etc/cumulus/networks.nft",
        "/etc/nginx/conf.d/cumulus.conf",
    ):
        assert path in by_hand & by_role, path


def test_both_export_alike() -> None:
    exported = re.compile(r"^(/srv/nfs\S*) .*\((r[ow]),(fsid=\d),", re.MULTILINE)
    assert exported.findall(TEXT) == exported.findall(TEMPLATES["exports.j2"])
    squash = r"sync,no_subtree_check,sec=sys,all_squash,anonuid="
    assert squash in TEXT
    assert squash in TEMPLATES["exports.j2"]


def test_the_firewalls_networks_are_defined_by_both() -> None:
    used = set(re.findall(r"\$(\w+)", (FILES / "nftables.conf").read_text()))
    assert used == set(re.findall(r"^define (\w+) =", TEMPLATES["networks.nft.j2"], re.MULTILINE))
    assert used == set(re.findall(r"^define (\w+) =", TEXT, re.MULTILINE))


def test_networks_of_both_kinds_are_told_apart() -> None:
    jinja = Environment(undefined=StrictUndefined)
    jinja.tests["search"] = lambda text, pattern: bool(re.search(pattern, text))  # as Ansible has it
    text = jinja.from_string(TEMPLATES["networks.nft.j2"]).render(
        ansible_managed="",
        controller_ssh_networks=["192.0.2.0/24", "2001:db8::/48"],
        controller_https_networks=[],
        controller_worker_network="fd00:61::/64",
    )
    assert dict(re.findall(r"^define (\w+) = (.*)$", text, re.MULTILINE)) == {
        "ssh_networks": "{ 192.0.2.0/24 }",
        "ssh_networks_6": "{ 2001:db8::/48 }",
        "https_networks": "{ 127.0.0.0/8 }",
        "https_networks_6": "{ ::1/128 }",
        "worker_network": "{ 127.0.0.0/8 }",
        "worker_network_6": "{ fd00:61::/64 }",
    }


def test_the_guideline_does_nothing_by_itself() -> None:
    told = subprocess.run([SCRIPT], capture_output=True, text=True, check=True, timeout=10).stdout
    steps = re.findall(r"^  (\w+)\t\S", told, re.MULTILINE)
    assert steps == re.findall(r"^step_(\w+)\(\)", TEXT, re.MULTILINE)
    assert steps[0] == "packages"
    assert steps[-1] == "look"


@pytest.mark.parametrize("arguments", [["everything"], ["storage", "proxy"], ["step_storage"], ["--help"], [""]])
def test_a_step_that_does_not_exist_is_refused(arguments: list[str]) -> None:
    refused = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=10)
    assert refused.returncode == 2
    assert "there is no step" in refused.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_no_word_that_systemd_does_not_know(name: str) -> None:
    done = subprocess.run(["systemd-analyze", "verify", FILES / name], capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if re.match(rf"(?:\S*/)?{re.escape(name)}:", line)]
    # The checkout is not where a controller has it.
    assert [line for line in ours if "is not executable: No such file" not in line] == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("name", ["cumulus.service", "cumulus-backup.service"])
def test_a_service_can_do_little_beside_its_work(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", FILES / name]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+) ", told)
    assert found, told
    assert float(found[1]) <= 2.0, told


def test_the_service_is_watched_and_leaves_its_jobs_alone() -> None:
    unit = (FILES / "cumulus.service").read_text()
    for line in (
        "Type=notify",
        "WatchdogSec=3min",
        "Restart=on-failure",
        "KillMode=process",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ):
        assert f"\n{line}\n" in unit, line
    assert "RequiresMountsFor=/srv/cumulus\n" in unit


@pytest.mark.skipif(not shutil.which("nft"), reason="no nftables here")
def test_the_firewall_can_be_loaded(tmp_path: Path) -> None:
    networks = tmp_path / "networks.nft"
    networks.write_text(
        "define ssh_networks = { 192.0.2.0/24, 198.51.100.7/32 }\n"
        "define https_networks = { 127.0.0.0/8 }\ndefine worker_network = 10.61.0.0/24\n"
        "define ssh_networks_6 = { 2001:db8::/48 }\ndefine https_networks_6 = { ::1/128 }\ndefine worker_network_6 = ::1/128\n"
    )
    rules = tmp_path / "nftables.conf"
    rules.write_text((FILES / "nftables.conf").read_text().replace("/etc/cumulus/networks.nft", str(networks)))
    done = subprocess.run(["nft", "--check", "--file", rules], capture_output=True, text=True, check=False, timeout=20)
    if "Operation not permitted" in done.stderr or "not supported" in done.stderr:
        pytest.skip("this kernel, or this user, has no nftables")
    assert done.returncode == 0, done.stderr


def backup(folder: Path, keep: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """One run of the backup's script, as its unit starts it."""
    command = [FILES / "cumulus-backup", folder, keep]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def home(environment: dict[str, str]) -> Path:
    """A home with a database, a state, and what need not be kept."""
    folder = Path(environment["CUMULUS_HOME"])
    files = {
        "installation-id": "c0ffee",
        "openstack/id_ed25519": "key",
        "terraform/openstack-worker/state/workspaces/job-1/terraform.tfstate": "{}",
        "terraform/openstack-worker/data/providers/big": "x",
        "storage/data/big.mzML": "x",
        "plays/job-1.start/stdout": "x",
        "backups/old": "x",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    open_database(folder / "cumulus.sqlite").close()
    return folder


def test_a_backup_has_what_cannot_be_made_again(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    done = backup(kept, "3", environment)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip())
    assert [path.name for path in kept.iterdir()] == [made.name]
    assert open_database(made / "cumulus.sqlite").close()
    with tarfile.open(made / "home.tar.gz") as archive:
        names = {member.name.removeprefix("./") for member in archive if member.isfile()}
    assert names == {
        "installation-id",
        "openstack/id_ed25519",
        "terraform/openstack-worker/state/workspaces/job-1/terraform.tfstate",
    }
    assert {path.stat().st_mode & 0o077 for path in (made, *made.iterdir())} == {0}


def test_only_the_newest_backups_stay_and_nothing_else_goes(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for name in ("20200101-023000", "20200102-023000", "20200103-023000", "by-hand", "20200101"):
        (kept / name).mkdir(parents=True)
    done = backup(kept, "2", environment)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip()).name
    assert {path.name for path in kept.iterdir()} == {"20200103-023000", made, "by-hand", "20200101"}


def test_a_backup_that_fails_leaves_the_others_alone_and_nothing_half_done(environment: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "20200101-023000").mkdir(parents=True)
    done = backup(kept, "1", environment)
    assert done.returncode == 1
    assert "there is no installation" in done.stderr
    assert [path.name for path in kept.iterdir()] == ["20200101-023000"]


@pytest.mark.parametrize("keep", ["0", "-1", "", "many", "1; rm -rf /", "01"])
def test_how_many_backups_stay_is_a_number(keep: str, environment: dict[str, str], tmp_path: Path) -> None:
    refused = backup(tmp_path, keep, environment)
    assert refused.returncode == 2
    assert "KEEP must be a number" in refused.stderr
