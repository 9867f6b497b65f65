"""A controller as a process whose database is lost: it says so, and its next start has all jobs again, each run once."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from programs.exits import ExitCode
from server.home.running import running_controller
from tests.accidents.test_database_lost import (
    another,
    empty,
    make_a_folder,
    overwrite_with_garbage,
    remove_all,
    remove_log,
    remove_main,
    replace,
    replace_by_an_empty_file,
    replace_by_another_programs,
)
from tests.conftest import FLAVORS, eventually

pytestmark = pytest.mark.system

CUMULUS = str(Path(sys.executable).with_name("cumulus"))
APP = """\
<tool id="count_1.0" name="Count" version="1.0" category="Tests" description="Writes a line" command="true;" end_tag="">
  <section name="what" title="What" expanded="true">
    <string name="name" label="Name" value="a" command="echo 'begins' >> '{ledger}.%value%';"/>
    <number name="seconds" label="Seconds to wait" value="0" min="0" max="3600" step="0.1" command="sleep %value%;"/>
    <string name="result" label="Text" value="x" command="printf '%s' '%value%' > '%output_dir%/result.txt'"/>
  </section>
</tool>
"""


@dataclass
class Site:
    """An installation on the local cloud; the apps' ledger lies outside of all that it clears."""

    top: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def database(self) -> Path:
        return self.top / "home" / "cumulus.sqlite"

    @property
    def storage(self) -> Path:
        return self.top / "home" / "storage"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "CUMULUS_HOME": str(self.top / "home"),
            "CUMULUS_CLOUD": "local",
            "CUMULUS_APPS": str(self.top / "apps"),
            "CUMULUS_FLAVORS": str(self.top / "flavors.tsv"),
            "CUMULUS_MIN_FREE_GB": "0",
            "CUMULUS_PORT": "0",
            "CUMULUS_POLL_INTERVAL_S": "0.1",
            "CUMULUS_SWEEP_INTERVAL_S": "1",
        }
        return {**{name: value for name, value in os.environ.items() if not name.startswith("CUMULUS_")}, **own}

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([CUMULUS, *words], env=self.environment, capture_output=True, text=True, timeout=120)

    def start(self) -> None:
        """Start the controller; it may refuse to."""
        with (self.top / "log").open("ab") as log:
            self.process = subprocess.Popen([CUMULUS, "serve"], env=self.environment, stderr=log, start_new_session=True)
        eventually(lambda: self.url() is not None or self.ended() is not None)

    def ended(self) -> int | None:
        assert self.process
        return self.process.poll()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def url(self) -> str | None:
        running = running_controller(self.top / "home")
        return running.url if running else None

    def ask(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url()}{path}", trust_env=False, timeout=30)

    def submit(self, name: str, seconds: float = 0) -> int:
        form = json.dumps({"name": name, "seconds": str(seconds), "result": name})
        data = {"username": "ada", "app_name": "count_1.0", "strategy": "m1.4xlarge", "settings": form}
        said = httpx.post(f"{self.url()}/start", data=data, trust_env=False, timeout=30).json()
        assert said[1], said
        (self.storage / "jobs" / said[1] / ".cumulus.rsync").touch()
        return int(said[0])

    def state(self, job: int) -> str:
        found: list[dict[str, Any]] = self.ask("/joblist/0/100").json()
        return next((str(one["status"]) for one in found if one["id"] == job), "")

    def runs(self, name: str) -> int:
        ledger = self.top / f"ledger.{name}"
        return len(ledger.read_text().splitlines()) if ledger.exists() else 0

    def log(self) -> str:
        return (self.top / "log").read_text()


@contextmanager
def made(top: Path, kind: type[Site] = Site) -> Iterator[Site]:
    (top / "apps").mkdir()
    (top / "apps" / "count.xml").write_text(APP.format(ledger=top / "ledger"))
    (top / "flavors.tsv").write_text(FLAVORS)
    site = kind(top)
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with made(tmp_path) as found:
        found.start()
        yield found


@pytest.mark.parametrize("damage", [remove_main, remove_all, remove_log, empty, replace_by_an_empty_file])
def test_what_is_lost_while_running_is_told_and_there_again_at_the_next_start(site: Site, damage: Callable[[Path], None]) -> None:
    done = site.submit("done")
    eventually(lambda: site.state(done) == "DONE")
    long = site.submit("long", 3)
    eventually(lambda: site.runs("long") == 1)
    damage(site.database)
    assert site.ask("/healthz").status_code == 503
    eventually(lambda: "nothing more is written" in site.log())
    said = site.command("jobs")
    assert (said.returncode, said.stdout) == (ExitCode.FAILED, "") or damage is remove_log
    assert site.command("stop").returncode == 0
    site.start()
    assert site.ask("/healthz").status_code == 200
    eventually(lambda: site.state(long) == "DONE")
    assert site.state(done) == "DONE"
    assert (site.runs("done"), site.runs("long")) == (1, 1)
    assert site.submit("next") > long


@pytest.mark.parametrize("damage", [replace, replace_by_another_programs, overwrite_with_garbage, make_a_folder])
def test_a_start_beside_a_wrong_database_is_refused_with_instructions(site: Site, damage: Callable[[Path], None]) -> None:
    done = site.submit("done")
    eventually(lambda: site.state(done) == "DONE")
    site.stop()
    damage(site.database)
    site.start()
    eventually(lambda: site.ended() is not None)
    last = site.log().splitlines()[-1]
    assert last.startswith("cumulus: the database ")
    assert "move it away" in last or "cumulus db rebuild" in last
    shutil.move(site.database, site.top / "wrong")  # as it says
    site.start()
    assert site.state(done) == "DONE"
    assert site.runs("done") == 1


def test_a_restored_backup_gives_no_number_again(site: Site) -> None:
    first = site.submit("first")
    eventually(lambda: site.state(first) == "DONE")
    backup = site.command("db", "backup", str(site.top / "backup")).stdout.strip()
    later = [site.submit(name) for name in ("a", "b")][-1]
    eventually(lambda: site.state(later) == "DONE")
    site.stop()
    for file in site.database.parent.glob("cumulus.sqlite*"):
        file.unlink()
    shutil.copy(backup, site.database)
    site.start()
    assert "the database is older than the storage" in site.log()
    assert site.submit("next") == later + 1


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_backup_in_the_place_of_a_database_keeps_later_jobs_and_their_machines(site: Site, is_killed: bool) -> None:
    first = site.submit("first")
    eventually(lambda: site.state(first) == "DONE")
    backup = site.command("db", "backup", str(site.top / "backup")).stdout.strip()
    later = site.submit("later", 12)
    eventually(lambda: site.runs("later") == 1 and site.state(later) == "RUNNING")
    if is_killed:
        assert site.process
        site.process.kill()
        site.process.wait(60)
        assert site.database.with_name("cumulus.sqlite-wal").stat().st_size > 0
    else:
        site.stop()
    shutil.copy(backup, site.database)
    assert "is of the database that was in its place before" in site.command("jobs").stderr or not is_killed
    site.start()
    assert ("the database's log was another database's" in site.log()) is is_killed
    assert "the database is older than the storage" in site.log()
    assert site.ask("/healthz").status_code == 200
    eventually(lambda: site.state(later) == "DONE")
    assert (site.state(first), site.runs("first"), site.runs("later")) == ("DONE", 1, 1)
    assert "orphan was removed" not in site.log()
    assert "Traceback" not in site.log()
    assert len(json.loads(site.command("jobs", "--json").stdout)) == 2


def test_a_database_of_ours_without_jobs_and_without_a_storage_is_just_used(tmp_path: Path) -> None:
    with made(tmp_path) as site:
        site.start()
        site.stop()
        before = sqlite3.connect(site.database).execute("SELECT value FROM switch WHERE name = 'installation'").fetchone()
        site.start()
        assert site.submit("a") == 1
        site.stop()
        assert sqlite3.connect(site.database).execute("SELECT value FROM switch WHERE name = 'installation'").fetchone() == before


def test_another_installations_database_is_named_by_its_id(site: Site) -> None:
    site.submit("a")
    site.stop()
    another(site.database).replace(site.database)
    site.start()
    eventually(lambda: site.ended() is not None)
    assert "of another installation (c0123456789ab)" in site.log()
