"""What doctor finds of a controller's computer: real files and programs, of a computer that each test describes."""

import os
import socket
from pathlib import Path

import pytest

from server.services.doctor import examine
from server.services.host_checks import Computer, NotSetUp
from server.services.principal import Principal
from server.settings import CloudName, Settings

SQUASHED = "all_squash,no_subtree_check,anonuid=61000,anongid=61000,sec=sys"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of all others on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def says(folder: Path, name: str, text: str, code: int = 0) -> None:
    """A program that prints the text."""
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    program.chmod(0o755)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage, and what workers see of it."""
    for name in ("data", "jobs"):
        (tmp_path / "storage" / name).mkdir(parents=True)
        (tmp_path / "nfs").mkdir(exist_ok=True)
        (tmp_path / "nfs" / name).symlink_to(tmp_path / "storage" / name)  # as a bind mount: the same folder
    return tmp_path / "storage"


def exporting(tmp_path: Path, *lines: str) -> Computer:
    """A computer whose NFS server was told so; NFS stands for the folder that workers see."""
    etab = tmp_path / "etab"
    etab.write_text("".join(f"{line.replace('NFS', str(tmp_path / 'nfs'))}\n" for line in lines))
    return Computer(etab=etab)


ROOT = f"NFS\t10.61.0.0/24(ro,fsid=0,{SQUASHED})"
DATA = f"NFS/data\t10.61.0.0/24(ro,fsid=1,{SQUASHED})"
JOBS = f"NFS/jobs\t10.61.0.0/24(rw,fsid=2,{SQUASHED})"


def test_exports_as_the_set_up_makes_them_are_well(tmp_path: Path, storage: Path) -> None:
    assert exporting(tmp_path, ROOT, DATA, JOBS).exports(storage, "127.0.0.1") == "data (read-only) and jobs for 10.61.0.0/24"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "no root for workers"),
        ((ROOT.replace("fsid=0", "fsid=9"), DATA, JOBS), "no root for workers"),
        ((ROOT, JOBS), "nfs/data is not exported"),
        ((ROOT, DATA), "nfs/jobs is not exported"),
        ((ROOT, DATA.replace("(ro", "(rw"), JOBS), "nfs/data must be exported ro"),
        ((ROOT, DATA, JOBS.replace("(rw", "(ro")), "nfs/jobs must be exported rw"),
        ((ROOT, DATA, JOBS.replace("all_squash", "root_squash")), "nfs/jobs is exported without all_squash"),
    ],
)
def test_each_way_to_export_wrongly_is_named(tmp_path: Path, storage: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(NotSetUp, match=words):
        exporting(tmp_path, *lines).exports(storage, "127.0.0.1")


def test_an_export_of_something_else_than_the_storage_is_named(tmp_path: Path, storage: Path) -> None:
    (tmp_path / "nfs" / "jobs").unlink()
    (tmp_path / "nfs" / "jobs").mkdir()
    with pytest.raises(NotSetUp, match=r"is srv-nfs-jobs\.mount active"):
        exporting(tmp_path, ROOT, DATA, JOBS).exports(storage, "127.0.0.1")


def test_a_computer_without_an_nfs_server_is_told_how_to_get_one(tmp_path: Path, storage: Path) -> None:
    with pytest.raises(NotSetUp, match=r"etab: No such file.*controller\.sh"):
        Computer(etab=tmp_path / "etab").exports(storage, "127.0.0.1")


def test_what_another_computer_shows_is_not_looked_for_here(tmp_path: Path, storage: Path) -> None:
    assert Computer(etab=tmp_path / "etab").exports(storage, "192.0.2.77") == "192.0.2.77 shows the storage"
    assert Computer().is_own(socket.gethostname()) or Computer().is_own("127.0.0.1")


def test_a_storage_on_the_systems_disk_is_not_mounted(tmp_path: Path, storage: Path) -> None:
    with pytest.raises(NotSetUp, match="lies on the system's disk"):
        Computer(system=tmp_path).mount(storage)
    with pytest.raises(NotSetUp, match="is the storage mounted"):
        Computer().mount(tmp_path / "nowhere")


def test_a_storage_on_a_disk_of_its_own_is_well_and_nothing_stays_in_it(storage: Path) -> None:
    before = sorted(storage.iterdir())
    assert Computer(system=Path("/proc")).mount(storage).endswith("is mounted and writable")
    assert sorted(storage.iterdir()) == before


def test_a_storage_that_is_read_only_is_named() -> None:
    with pytest.raises(NotSetUp, match="nothing can be written in /proc"):
        Computer().mount(Path("/proc"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_credentials_that_others_may_read_are_named_with_their_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text("clouds: {}\n")
    path.chmod(mode)
    computer = Computer(environment={"OS_CLIENT_CONFIG_FILE": str(path)})
    with pytest.raises(NotSetUp, match=f"mode {mode:04o}"):
        computer.credentials()
    path.chmod(0o600)
    assert computer.credentials() == f"{path}, for this user alone"


def test_credentials_may_be_variables_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "OS_*" in Computer(environment={"HOME": str(tmp_path), "OS_AUTH_URL": "https://keystone.example.org"}).credentials()
    with pytest.raises(NotSetUp, match=r"no clouds\.yaml"):
        Computer(environment={"HOME": str(tmp_path)}).credentials()


@pytest.mark.parametrize(
    ("version", "well"), [("1.5.7", False), ("0.15.1", False), ("1.6.0", True), ("1.11.4", True), ("2.0.0", True)]
)
def test_a_terraform_that_the_modules_do_not_take_is_named(programs: Path, version: str, well: bool) -> None:
    says(programs, "terraform", f'{{"terraform_version": "{version}", "platform": "linux_amd64"}}')
    if well:
        assert Computer().terraform() == version
        return
    with pytest.raises(NotSetUp, match=f"terraform {version} is too old, 1.6"):
        Computer().terraform()


@pytest.mark.parametrize("said", ["", "Terraform v1.11.4", "{}", "[]", '{"terraform_version": "one"}'])
def test_a_terraform_that_says_something_else_is_no_traceback(programs: Path, said: str) -> None:
    says(programs, "terraform", said)
    with pytest.raises(NotSetUp, match="does not tell its version"):
        Computer().terraform()


def test_a_clock_that_is_off_is_named(programs: Path) -> None:
    says(programs, "timedatectl", "no")
    with pytest.raises(NotSetUp, match="not in step"):
        Computer().clock()
    says(programs, "timedatectl", "yes")
    assert Computer().clock() == "in step with a time server"


@pytest.mark.parametrize(
    ("load", "enabled", "active", "sub", "words"),
    [
        ("not-found", "", "inactive", "dead", "there is no cumulus.service"),
        ("loaded", "disabled", "active", "running", "systemctl enable cumulus.service"),
        ("loaded", "enabled", "failed", "failed", "does not start: journalctl -u cumulus.service"),
        ("loaded", "enabled", "activating", "auto-restart", "does not start"),
        ("loaded", "enabled", "active", "running", ""),
    ],
)
def test_a_service_that_would_not_run_after_a_boot_is_named(
    programs: Path, load: str, enabled: str, active: str, sub: str, words: str
) -> None:
    says(programs, "systemctl", f"LoadState={load}\nUnitFileState={enabled}\nActiveState={active}\nSubState={sub}")
    if not words:
        assert Computer().service() == "cumulus.service is enabled and active"
        return
    with pytest.raises(NotSetUp, match=words):
        Computer().service()


def test_a_program_that_fails_or_is_not_there_is_one_line(programs: Path, no_terraform: None) -> None:
    with pytest.raises(NotSetUp, match="systemctl is not there"):
        Computer().service()


def test_a_program_that_fails_says_its_last_line(programs: Path) -> None:
    (programs / "timedatectl").write_text("#!/bin/sh\necho first >&2\necho 'Failed to connect to bus' >&2\nexit 1\n")
    (programs / "timedatectl").chmod(0o755)
    with pytest.raises(NotSetUp, match="timedatectl fails: Failed to connect to bus"):
        Computer().clock()


def test_only_a_controller_in_production_is_looked_at_so(settings: Settings) -> None:
    names = {name for name, _ in Computer().checks(settings)}
    assert not names & {finding.name for finding in examine(Principal.local_admin("root"), settings)}
    there = settings.model_copy(update={"cloud": CloudName.OPENSTACK})
    assert names <= {finding.name for finding in examine(Principal.local_admin("root"), there)}
