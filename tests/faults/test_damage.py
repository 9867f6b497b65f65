"""What somebody, or a disk, does to an installation's files: erased, removed, another's, full, garbage, pipes.

As in the other accidents each app's runs are counted by its own ledger, and nothing may be lost, run twice or left.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.client import Client
from server.home.running import running_controller
from server.states import JobState
from tests.disks import fill, needs_root, small_disk
from tests.faults.lab import HERE, Lab, wait
from tests.faults.test_accidents import proved

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab")
    yield made
    made.end()


def listed(lab: Lab) -> dict[int, str]:
    """Number and status of each job that the desktop client sees."""
    return {row["id"]: row["status"] for row in json.loads(lab.request("GET", "/joblist/0/-1"))}


def healthy(lab: Lab) -> bool:
    running = running_controller(lab.settings.home)
    try:
        return running is not None and httpx.get(f"{running.url}/healthz", timeout=10, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def start(lab: Lab, name: str) -> list[object]:
    """A submission as the desktop client makes it, whose refusal is wanted."""
    form = {"name": name, "ledger": str(lab.ledger), "seconds": "0", "code": "0"}
    fields = {"username": "ada", "app_name": "ledger_1.0", "strategy": "light", "description": name, "settings": json.dumps(form)}

    def ask(client: Client) -> list[object]:
        parts = {name: (None, text) for name, text in fields.items()}
        answer: list[object] = httpx.post(f"{client.url}/start", files=parts, timeout=30, trust_env=False).json()
        return answer

    return lab.call(ask)


def erase(lab: Lab) -> None:
    for path in lab.settings.home.glob("cumulus.sqlite*"):
        path.unlink()


def test_an_erased_database_comes_back_with_its_numbers_and_without_what_was_deleted(lab: Lab) -> None:
    lab.start()
    for name in ("one", "two", "three"):
        lab.submit(name)
        assert lab.reach(name) == JobState.DONE
    lab.settle()
    lab.request("GET", "/delete/ada/1")
    lab.request("GET", "/delete/ada/3")
    lab.submit("runs", seconds=15)
    lab.reach("runs", JobState.RUNNING)
    lab.kill()
    erase(lab)
    lab.revive()
    assert set(listed(lab)) == {2, 4}
    assert lab.submit("five") == 5
    assert [lab.reach(name) for name in ("runs", "five")] == [JobState.DONE] * 2
    assert [lab.runs(name) for name in ("one", "two", "three", "runs", "five")] == [1] * 5
    proved(lab, "database erased, with deleted jobs and one that runs", jobs=5)


def test_a_database_that_is_removed_while_it_is_used_is_noticed_and_made_again(lab: Lab) -> None:
    lab.start()
    lab.submit("done")
    assert lab.reach("done") == JobState.DONE
    lab.submit("runs", seconds=15)
    lab.reach("runs", JobState.RUNNING)
    erase(lab)
    wait(lambda: lab.has_died or not healthy(lab), 15, lab.log)
    assert lab.has_died or start(lab, "refused")[1] == ""
    lab.kill()
    lab.revive()
    assert [lab.reach(name) for name in ("done", "runs")] == [JobState.DONE] * 2
    assert [lab.runs(name) for name in ("done", "runs", "refused")] == [1, 1, 0]
    proved(lab, "database removed while it is used", jobs=2)


@pytest.mark.parametrize("has_id", [True, False])
def test_a_storage_of_another_installation_is_refused_and_left_as_it_is(tmp_path: Path, lab: Lab, has_id: bool) -> None:
    lab.start()
    lab.submit("one")
    assert lab.reach("one") == JobState.DONE
    lab.settle()
    lab.stop()
    if not has_id:  # as the former server leaves one
        for path in lab.storage.root.glob(".cumulus*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = sorted(str(path) for path in lab.storage.root.rglob("*"))
    other = Lab(tmp_path / "other", given={"storage": lab.storage.root})
    try:
        other.start()
        assert other.process is not None
        assert (other.process.returncode, lab.runs("one")) == (1, 1), other.log()
        assert "import-former" in other.log() or "installation" in other.log()
        assert sorted(str(path) for path in lab.storage.root.rglob("*")) == before
    finally:
        other.end()


@needs_root
def test_a_home_that_is_full_at_a_submission_leaves_no_folder_behind(tmp_path: Path) -> None:
    root = tmp_path / "lab"
    (root / "home").mkdir(parents=True)
    with small_disk(root / "home", "200m"):
        lab = Lab(root, given={"storage": root / "storage"})
        try:
            lab.start()
            lab.submit("one")
            assert lab.reach("one") == JobState.DONE
            lab.settle()
            fill(root / "home" / "filler")
            message, folder = start(lab, "refused")
            assert (folder, "full" in str(message)) == ("", True)
            (root / "home" / "filler").unlink()
            lab.submit("two")
            assert lab.reach("two") == JobState.DONE
            assert len(list(lab.storage.jobs.glob("Job_*"))) == 2
            proved(lab, "home full at a submission", jobs=2)
            lab.stop()
        finally:
            lab.end()


GARBAGE = ("data/terraform.tfstate", "data/environment", "vars/job-2.tfvars.json", "state/workspaces/job-2/terraform.tfstate")


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("kind", ["garbage", "empty", "directory"])
def test_garbage_among_terraforms_files_blocks_no_job(lab: Lab, name: str, kind: str) -> None:
    lab.start()
    lab.submit("one")
    assert lab.reach("one") == JobState.DONE
    lab.settle()
    lab.stop()
    path = lab.settings.home / "terraform" / "local-worker" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if kind == "directory" else path.write_text("" if kind == "empty" else "\x00{[garbage")
    lab.start()
    lab.submit("two")
    assert lab.reach("two") == JobState.DONE
    assert [lab.runs(one) for one in ("one", "two")] == [1, 1]
    proved(lab, f"{kind} in the place of {name}", jobs=2)


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_is_no_file_among_the_apps_is_named_and_hangs_nothing(lab: Lab, kind: str) -> None:
    apps = lab.root / "apps"
    shutil.copytree(HERE / "apps", apps)
    strange = apps / "strange.xml"
    os.mkfifo(strange) if kind == "fifo" else strange.symlink_to("/dev/zero")
    lab.given = {"apps": apps}
    lab.start()
    assert not lab.has_died or lab.process is None or lab.process.returncode != -signal.SIGKILL
    lab.submit("one")
    assert lab.reach("one") == JobState.DONE
    assert "strange.xml" in lab.log()
    proved(lab, f"a {kind} among the apps", jobs=1)
