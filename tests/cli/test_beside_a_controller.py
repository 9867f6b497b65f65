"""Commands about jobs beside a controller of root that answers at its socket: for root, and for a user without any rights."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.app import Controller
from server.db.models import Job
from server.home.folder import close_home
from server.home.presence import announced
from server.settings import Settings
from server.states import JobState
from tests.api.v1.local import at_the_socket
from tests.conftest import TEST_APPS, eventually, state_of, submission, turning
from tests.forked import Done, Forks, forks

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be somebody else")
NOBODY = 65534
FORM = ("--set", "text=hello", "--set", "seconds=0", "--set", "outcome=ok")


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as made:
        yield made


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    apps = tmp_path / "apps"
    apps.mkdir()
    for path in TEST_APPS.iterdir():
        (apps / path.name).write_bytes(path.read_bytes())
    return settings.model_copy(update={"apps": apps, "default_flavor": "m1.4xlarge"})


@dataclass
class Site:
    """An installation whose controller runs, and commands on it."""

    controller: Controller
    forks: Forks
    top: Path

    def run(self, *words: str, uid: int = 0) -> Done:
        settings = self.controller.settings
        env = {f"CUMULUS_{name.upper()}": str(getattr(settings, name)) for name in ("home", "cloud", "apps", "flavors")}
        env["CUMULUS_DEFAULT_FLAVOR"] = settings.default_flavor
        return self.forks.run("cumulus", *words, folder=self.top / "desk", env=env, uid=uid, limit_s=60)


@pytest.fixture
def site(controller: Controller, forked: Forks, tmp_path: Path) -> Iterator[Site]:
    """Its home is closed, as a controller closes it; one folder is everybody's."""
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk").chmod(0o777)
    (tmp_path / "desk" / "a.dat").write_text("x")
    settings = controller.settings
    with turning(controller), at_the_socket(controller), announced(settings.home, "http://127.0.0.1:1"):
        close_home(settings.home, settings.storage)
        settings.storage.chmod(0o700)
        for folder in (settings.home, *settings.home.parents):
            if folder.stat().st_uid == 0 and folder != Path("/"):
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
        yield Site(controller, forked, tmp_path)


def test_a_user_without_rights_submits_follows_and_fetches(site: Site) -> None:
    done = site.run("submit", "probe_1.0", *FORM, "--wait", uid=NOBODY)
    assert done.code == 0, done
    number = int(done.stdout.split()[0])
    assert f"Job {number} was submitted" in done.stdout
    (listed,) = json.loads(site.run("jobs", "--json", uid=NOBODY).stdout)
    assert (listed["id"], listed["owner"], listed["state"]) == (number, "nobody", "done")
    got = site.run("get", str(number), "--to", "results", uid=NOBODY)
    assert (got.code, got.stderr) == (0, ""), got
    assert (site.top / "desk" / got.stdout.split()[0]).stat().st_uid == NOBODY
    assert json.loads(site.run("record", str(number), "--json", uid=NOBODY).stdout)["owner"] == "nobody"
    again = site.run("rerun", str(number), uid=NOBODY)
    assert again.code == 0, again
    eventually(lambda: state_of(int(again.stdout)).is_final)
    assert site.run("delete", str(number), "--yes", uid=NOBODY).stdout == f"Job {number} is deleted\n"


def test_who_cannot_write_into_the_storage_sends_files_by_the_controller(site: Site) -> None:
    sent = site.run("submit", "probe_1.0", *FORM, "--input", "inputs=a.dat", uid=NOBODY)
    assert (sent.code, sent.stdout) == (0, "1\n"), sent.stderr
    job = Job.get_by_id(1)
    assert (job.owner, site.controller.storage.folder(job.folder).has_arrived()) == ("nobody", True)
    assert (site.controller.storage.data / "a.dat").is_file()
    assert site.run("storage", "rm", "a.dat", uid=NOBODY).stderr.startswith("cumulus: a.dat is wanted by a job")


OF_A_JOB = [
    ["show", "1"],
    ["show", "1", "--json"],
    ["logs", "1"],
    ["logs", "-f", "1"],
    ["get", "1"],
    ["cancel", "1"],
    ["delete", "1", "--yes"],
    ["retry", "1"],
    ["rerun", "1"],
    ["record", "1"],
    ["record", "1", "--json"],
    ["record", "1", "--compare", "1"],
]


@pytest.mark.parametrize("words", OF_A_JOB, ids=" ".join)
def test_another_s_job_is_not_there(site: Site, words: list[str]) -> None:
    site.controller.jobs.submit(*submission("ada", description="secret"))
    done = site.run(*words, uid=NOBODY)
    assert (done.code, done.stdout, done.stderr) == (1, "", "cumulus: there is no job 1 of nobody\n")


@pytest.mark.parametrize(
    "words",
    [
        ["apps", "list"],
        ["apps", "show", "probe_1.0"],
        ["apps", "form", "probe_1.0"],
        ["jobs"],
        ["jobs", "--json"],
        ["jobs", "--state", "failed", "--since", "2026-01-01", "--text", "x", "--app", "y"],
    ],
    ids=" ".join,
)
def test_a_user_without_rights_has_an_answer(site: Site, words: list[str]) -> None:
    done = site.run(*words, uid=NOBODY)
    assert (done.code, done.stderr) == (0, ""), done
    assert done.stdout


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_a_user_retries_and_cancels_the_own_jobs_and_root_everybody_s(site: Site, uid: int) -> None:
    job = site.controller.jobs.submit(*submission("nobody", settings='{"text": "x", "seconds": "600", "outcome": "ok"}'))
    assert site.run("cancel", str(job.id), uid=uid).stdout == f"Job {job.id} is cancelled\n"
    assert state_of(job.id) is JobState.CANCELLED
    retried = site.run("retry", str(job.id), uid=uid)
    number = retried.stdout.strip()
    assert (retried.code, Job.get_by_id(number).owner) == (0, "nobody"), retried
    assert site.run("cancel", number, uid=uid).code == 0
    assert site.run("cancel", number, uid=uid).stderr == f"cumulus: Job {number} had already ended\n"


def test_the_choice_of_results(site: Site) -> None:
    job = site.controller.jobs.submit(*submission("ada"))
    output = site.controller.storage.folder(job.folder).output
    for name in ("a.tsv", "b.txt", "sub/c.tsv"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text(name)
    site.controller.jobs.cancel(submission("ada")[0], job.id)
    for words, names in (
        (["--include", "*.tsv"], {"a.tsv", "sub/c.tsv"}),
        (["--exclude", "*.tsv"], {"b.txt"}),
        (["--include", "*.tsv", "--exclude", "sub/*"], {"a.tsv"}),
        (["--include", "sub/*"], {"sub/c.tsv"}),
    ):
        got = site.run("get", str(job.id), "--to", "r", *words)
        assert (got.code, set(got.stdout.split())) == (3, {f"r/{name}" for name in names}), words
    nothing = site.run("get", str(job.id), "--to", "r", "--include", "*.xml")
    assert "no result file is like that" in nothing.stderr
