"""What workers may do with the storage's files, and that it is given to nobody else."""

import json
import os
import stat
from pathlib import Path

import pytest

from server.workers.clouds.qemu.host import rights as rights_module
from server.workers.clouds.qemu.host.rights import admit_top, admit_worker

USER = 69321
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root rights")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs" / "Job_1"
    (folder / "input").mkdir(parents=True)
    (folder / "output").mkdir()
    (tmp_path / "data").mkdir()
    return folder


def data_file(job: Path, name: str, mode: int) -> Path:
    """A shared file that the job's plan names."""
    path = job.parents[1] / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(mode)
    (job / ".cumulus.plan").write_text(json.dumps({"inputs": [{"name": name, "shared": True}]}))
    return path


def admit(job: Path) -> None:
    admit_worker(job, job.parents[1] / "data", USER)


def rights(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def test_the_runner_writes_to_its_jobs_folders_and_to_no_other(job: Path) -> None:
    other = job.with_name("Job_2")
    other.mkdir()
    admit(job)
    assert [rights(path)[0] for path in (job, job / "input", job / "output", other)] == [USER, USER, USER, 0]


def test_a_former_attempts_files_are_written_to_again(job: Path) -> None:
    """A version that wrote as root may have made them."""
    (job / ".cumulus.log").touch()
    (job / "input" / ".cumulus.log").touch()
    (job / ".cumulus.alive").symlink_to(job.parent)
    admit(job)
    assert [rights(path)[0] for path in (job / ".cumulus.log", job / "input" / ".cumulus.log", job.parent)] == [USER, 0, 0]


def test_what_the_controller_writes_and_renames_meanwhile_is_no_hindrance(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job / ".cumulus.job.0a1b2c3d.new").touch()
    (job / ".cumulus.job").touch()
    original = rights_module._is_the_runners

    def and_gone(entry: "os.DirEntry[str]") -> bool:
        is_the_runners = original(entry)
        if entry.name == ".cumulus.job":
            os.unlink(job / entry.name)
        return is_the_runners

    monkeypatch.setattr(rights_module, "_is_the_runners", and_gone)
    admit(job)
    assert rights(job / ".cumulus.job.0a1b2c3d.new")[0] == 0  # the controller's until it has its name
    assert [rights(path)[0] for path in (job, job / "input", job / "output")] == [USER, USER, USER]


@pytest.mark.parametrize(
    ("mode", "gid", "after"),
    [
        (0o600, USER, 0o640),  # nobody else's: the server's group may read it
        (0o644, 0, 0o644),  # for all
        (0o640, 0, 0o640),  # shared with a group by its owner, who has to decide
    ],
)
def test_a_shared_file_is_opened_for_workers_and_for_nobody_else(job: Path, mode: int, gid: int, after: int) -> None:
    path = data_file(job, "runs/a.raw", mode)
    admit(job)
    assert rights(path) == (0, gid, after)


def test_the_way_to_a_file_is_opened_too(job: Path) -> None:
    path = data_file(job, "runs/today/a.raw", 0o600)
    path.parent.chmod(0o700)
    path.parent.parent.chmod(0o700)
    admit(job)
    assert rights(path.parent) == rights(path.parent.parent) == (0, USER, 0o750)


def test_a_folder_is_opened_with_all_that_is_in_it(job: Path) -> None:
    inner = data_file(job, "run.d/inner/a.bin", 0o600)
    inner.parent.chmod(0o700)
    (job / ".cumulus.plan").write_text(json.dumps({"inputs": [{"name": "run.d", "shared": True}]}))
    admit(job)
    assert (rights(inner.parent), rights(inner)) == ((0, USER, 0o750), (0, USER, 0o640))


def test_what_is_not_in_the_plan_stays_closed(job: Path) -> None:
    data_file(job, "a.raw", 0o600)
    other = data_file(job, "b.raw", 0o600)
    data_file(job, "a.raw", 0o600)
    admit(job)
    assert rights(other) == (0, 0, 0o600)


@pytest.mark.parametrize("name", ["link", "folder/secret"])
def test_no_link_leads_out_of_the_storage(job: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.touch(mode=0o600)
    data = job.parents[1] / "data"
    (data / "link").symlink_to(secret)
    (data / "folder").symlink_to(secret.parent)
    (job / "input" / "own").symlink_to(secret)
    (job / "link").symlink_to(secret.parent)
    (job / ".cumulus.plan").write_text(json.dumps({"inputs": [{"name": name, "shared": True}]}))
    admit(job)
    assert rights(secret) == (0, 0, 0o600)
    assert rights(secret.parent)[:2] == (0, 0)


def test_another_name_of_a_file_keeps_its_owner(job: Path) -> None:
    path = data_file(job, "a.raw", 0o644)
    os.chown(path, 1000, 1000)
    (job / "input" / "a.raw").hardlink_to(path)
    admit(job)
    assert rights(path) == (1000, 1000, 0o644)


def test_a_missing_file_or_plan_is_the_runners_to_tell(job: Path) -> None:
    admit(job)
    data_file(job, "a.raw", 0o600).unlink()
    admit(job)
    (job / ".cumulus.plan").write_text("{")
    admit(job)


def test_a_missing_folder_is_an_error(job: Path) -> None:
    with pytest.raises(FileNotFoundError):
        admit(job.with_name("Job_9"))


def test_a_top_folder_is_opened_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "inner").mkdir(mode=0o700)
    admit_top(tmp_path, USER)
    assert (rights(tmp_path), rights(tmp_path / "inner")) == ((0, USER, 0o750), (0, 0, 0o700))
