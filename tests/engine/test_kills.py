"""Kill -9 between every two writes of a submission and of a deletion, then a restart, or an erased database, or both."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import Controller, make_controller, rebuild_database
from server.db.models import Event, Job
from server.engine.records.manifests import Manifests
from server.home.installation import installation_id
from server.progress import Lines
from server.services.principal import Principal
from server.settings import CHECKOUT, Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.conftest import submission

pytestmark = pytest.mark.timeout(300)
TELLING = ("id", "owner", "app", "flavor", "folder", "state", "state_since", "description", "created", "ended", "outcome")
LONGEST = 60  # writes; more than any of the two takes


class Victim:
    """A process that does what it is told and is killed while it does."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def kill(self, settings: Settings, act: str, at: int) -> bool:
        """True if it was killed, before its ``at``-th write; False if it came to the end."""
        given = {"settings": settings.model_dump(mode="json"), "act": act, "at": at}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        assert code in (0, -9)
        return code == -9


@pytest.fixture
def victim() -> Iterator[Victim]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.killed"], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Victim(process)
        process.stdin.close()  # type: ignore[union-attr]


@pytest.fixture
def prepared(controller: Controller) -> Settings:
    """An installation with a job that waits, one that has ended, and one that is deleted; no controller runs."""
    jobs = [controller.jobs.submit(*submission(description=text)) for text in ("waits", "was deleted", "has ended")]
    for job in jobs[1:]:
        controller.jobs.cancel(Principal.desktop("ada"), job.id)
        (controller.storage.folder(job.folder).output / "result.txt").write_text("x")
    controller.jobs.delete(Principal.desktop("ada"), jobs[1].id)
    Manifests(controller.storage).keep_up()
    controller.database.close()
    return controller.settings


def copied(settings: Settings, to: Path) -> Settings:
    """The installation as it is now, elsewhere."""
    shutil.copytree(settings.home, to)
    return settings.model_copy(update={"home": to, "storage": to / "storage", "database": to / "cumulus.sqlite"})


def restarted(settings: Settings) -> Controller:
    made = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    made.jobs.finish_interrupted()
    Manifests(made.storage).keep_up()
    return made


def ended(controller: Controller) -> None:
    controller.loop.stop(1)
    controller.database.close()


def erased(settings: Settings) -> tuple[str, ...]:
    """Erase the database and make it anew; what was left alone."""
    for path in settings.home.glob("cumulus.sqlite*"):
        path.unlink()
    return rebuild_database(settings, 2e9, Lines(lambda _: None)).left_alone


def told() -> list[tuple[object, ...]]:
    return [tuple(getattr(job, name) for name in TELLING) for job in Job.select().order_by(Job.id)]


def check_folders(controller: Controller) -> None:
    """Every folder is that of a job that is not deleted, or of one whose folder the next cleaning takes."""
    known = {job.folder: job.state for job in Job.select()}
    found = {path.name for path in controller.storage.jobs.iterdir() if not path.name.startswith(".")}
    assert found <= set(known)
    assert {name for name, state in known.items() if state != JobState.DELETED} <= found
    assert list((controller.storage.root / ".cumulus.ledger" / "submitting").iterdir()) == []


def test_a_submission_is_taken_whole_or_leaves_nothing(victim: Victim, prepared: Settings, tmp_path: Path) -> None:
    at = 0
    before = None
    taken = set()
    while True:
        at += 1
        assert at < LONGEST
        settings = copied(prepared, tmp_path / f"at-{at}")
        killed = victim.kill(settings, "submit", at)
        for way in ("restart", "erase"):
            here = copied(settings, tmp_path / f"{way}-{at}")
            assert way == "restart" or erased(here) == ()
            controller = restarted(here)
            first = told()
            assert before in (None, first[:3])
            before = first[:3]
            taken.add((way, len(first)))
            check_folders(controller)
            number = controller.jobs.submit(*submission(description="the next")).id
            assert number >= 4
            assert number == 5 or len(first) == 3
            expected = told()
            ended(controller)
            assert erased(here) == ()
            controller = restarted(here)
            assert told() == expected
            check_folders(controller)
            assert controller.jobs.submit(*submission()).id == number + 1
            ended(controller)
        if not killed:
            break
    assert at > 10
    assert taken == {("restart", 3), ("restart", 4), ("erase", 3), ("erase", 4)}
    assert len(first) == 4, "who was told of a job has it, also without its database"


def test_a_deletion_is_done_or_was_never_begun(victim: Victim, prepared: Settings, tmp_path: Path) -> None:
    at = 0
    seen = set()
    while True:
        at += 1
        assert at < LONGEST
        settings = copied(prepared, tmp_path / f"at-{at}")
        killed = victim.kill(settings, "3", at)
        for way in ("restart", "erase"):
            here = copied(settings, tmp_path / f"{way}-{at}")
            assert way == "restart" or erased(here) == ()
            controller = restarted(here)
            job = Job.get_by_id(3)
            seen.add((way, job.state))
            assert [one.state for one in Job.select().order_by(Job.id)][:2] == ["uploading", "deleted"]
            if job.state == JobState.DELETED:
                assert job.description == ""
                assert Event.select().where(Event.subject == "job", Event.subject_id == 3, Event.new == "deleted").count() == 1
            else:
                assert (controller.storage.folder(job.folder).output / "result.txt").read_text() == "x"
            check_folders(controller)
            expected = told()
            ended(controller)
            assert erased(here) == ()
            controller = restarted(here)
            assert told() == expected
            assert controller.jobs.submit(*submission()).id == 4
            ended(controller)
        if not killed:
            break
    assert at > 10
    assert job.state == JobState.DELETED
    assert seen == {(way, state) for way in ("restart", "erase") for state in ("cancelled", "deleted")}
