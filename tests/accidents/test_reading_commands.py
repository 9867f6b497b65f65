"""Commands that only read make nothing: no installation, database, folder, id or lock, wherever they are pointed to."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from agent.cli import main as agent_commands
from agent.queue.database import open_database as open_queue
from programs.exits import ExitCode
from server.cli.main import main as commands
from server.db.connection import open_database
from server.db.models import Job, StoredSetting
from server.db.transitions import Change, create
from server.home.installation import installation_id
from server.states import JobState
from server.storage.folders import Storage
from tests.conftest import FLAVORS, TEST_APPS
from tests.forked import Done, Forks, forks

NOBODY = 65534
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
FOLDER = "Job_1_ada_probe_1.0_1700000000"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, and mount")

# Each command of both programs, with its arguments. READS: makes nothing anywhere. OWN: also without an installation it says
# something of this computer or of files that it is given. CHANGES: needs an installation and may change it. BEGINS: may make one.
READS, OWN, CHANGES, BEGINS = "reads", "own", "changes", "begins"
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cumulus jobs": (READS, ()),
    "cumulus show": (READS, ("1",)),
    "cumulus logs": (READS, ("1",)),
    "cumulus get": (READS, ("1", "--to", "copied")),
    "cumulus record": (READS, ("1",)),
    "cumulus rerun": (READS, ("1",)),
    "cumulus queue": (READS, ()),
    "cumulus state": (READS, ()),
    "cumulus state env": (READS, ()),
    "cumulus orphans": (READS, ()),
    "cumulus snapshot list": (READS, ()),
    "cumulus storage usage": (READS, ()),
    "cumulus storage ls": (READS, ()),
    "cumulus storage put": (READS, ("form.json",)),  # without a controller nothing is sent
    "cumulus storage get": (READS, ("a.dat", "--to", "copied")),
    "cumulus storage quota": (READS, ()),
    "cumulus storage clean": (READS, ("--dry-run",)),
    "cumulus storage trash": (READS, ()),
    "cumulus db rebuild": (READS, ("--dry-run",)),
    "cumulus db backup": (READS, ("copied.sqlite",)),
    "cumulus doctor": (OWN, ()),
    "cumulus flavors": (OWN, ()),
    "cumulus flavors sync": (OWN, ()),
    "cumulus quota": (OWN, ()),
    "cumulus apps list": (OWN, ()),
    "cumulus apps show": (OWN, ("probe_1.0",)),
    "cumulus apps check": (OWN, ()),
    "cumulus apps preview": (OWN, ("probe_1.0", "form.json")),
    "cumulus apps form": (OWN, ("probe_1.0",)),
    "cumulus apps new": (OWN, ("mine_1",)),  # into the folder of apps
    "cumulus submit": (READS, ("probe_1.0", "--settings", "form.json")),  # without a controller nothing is sent
    "cumulus workflow run": (READS, ("filter_and_search_1.0.0",)),
    "cumulus cancel": (READS, ("1",)),  # without a controller nothing is changed
    "cumulus delete": (READS, ("1", "--yes")),
    "cumulus retry": (READS, ("1",)),
    "cumulus batch list": (READS, ()),
    "cumulus batch show": (READS, ("1",)),
    "cumulus batch submit": (READS, ("probe_1.0", "form.json")),  # without a controller nothing is sent
    "cumulus batch cancel": (CHANGES, ("1",)),
    "cumulus batch retry": (CHANGES, ("1",)),
    "cumulus batch delete": (CHANGES, ("1",)),
    "cumulus preset list": (READS, ()),
    "cumulus preset show": (READS, ("mine",)),
    "cumulus preset save": (CHANGES, ("mine", "probe_1.0")),
    "cumulus preset delete": (CHANGES, ("mine",)),
    "cumulus usage": (READS, ()),
    "cumulus login": (OWN, ()),
    "cumulus logout": (OWN, ()),
    "cumulus completion": (OWN, ("bash",)),
    "cumulus user list": (READS, ()),
    "cumulus user create": (CHANGES, ("ada",)),
    "cumulus user change": (CHANGES, ("ada", "--role", "user")),
    "cumulus user invite": (CHANGES, ("ada",)),
    "cumulus user password": (CHANGES, ("ada",)),
    "cumulus user disable": (CHANGES, ("ada",)),
    "cumulus user enable": (CHANGES, ("ada",)),
    "cumulus user delete": (CHANGES, ("ada",)),
    "cumulus group list": (READS, ()),
    "cumulus group create": (CHANGES, ("lab",)),
    "cumulus group change": (CHANGES, ("lab", "--shares-jobs")),
    "cumulus group add": (CHANGES, ("lab", "ada")),
    "cumulus group remove": (CHANGES, ("lab", "ada")),
    "cumulus group delete": (CHANGES, ("lab",)),
    "cumulus token list": (READS, ()),
    "cumulus token create": (CHANGES, ("laptop",)),
    "cumulus token revoke": (CHANGES, ("1",)),
    "cumulus audit": (READS, ()),
    "cumulus stop": (READS, ()),
    "cumulus drain": (CHANGES, ()),
    "cumulus resume": (CHANGES, ()),
    "cumulus priority": (CHANGES, ("1", "5")),
    "cumulus hold": (CHANGES, ("1",)),
    "cumulus storage restore": (CHANGES, ("1",)),
    "cumulus storage rm": (CHANGES, ("a.dat",)),
    "cumulus state destroy": (CHANGES, ("job-1",)),
    "cumulus state unlock": (CHANGES, ("job-1",)),
    "cumulus state forget": (CHANGES, ("job-1",)),
    "cumulus snapshot rollback": (CHANGES, ()),
    "cumulus snapshot prune": (CHANGES, ()),
    "cumulus template stop": (CHANGES, ()),
    "cumulus serve": (BEGINS, ()),
    "cumulus storage adopt": (BEGINS, ()),
    "cumulus import-former": (BEGINS, ("storage", "cumulus.db")),
    "cumulus template build": (BEGINS, ()),
    "cumulus template boot": (BEGINS, ()),
    "cumulus snapshot create": (BEGINS, ()),
    "cumulus-agent queue": (READS, ()),
    "cumulus-agent status": (READS, ()),
    "cumulus-agent doctor": (OWN, ()),
    "cumulus-agent serve": (BEGINS, ()),
}
# What a command that reads may leave: SQLite's index of a log that was there already, and what the command was asked to make.
ALLOWED = ("cumulus.sqlite-shm", "queue.sqlite-shm", "copied", "copied.sqlite", "mine_1.xml")


def every(program: str, group: click.Group) -> Iterator[str]:
    """The names of all commands of a program."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every(f"{program} {name}", command)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{program} {name}"


def test_each_command_is_said_to_read_or_to_change() -> None:
    assert sorted(COMMANDS) == sorted([*every("cumulus", commands), *every("cumulus-agent", agent_commands)])


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as made:
        yield made


@dataclass
class Site:
    """A folder with settings, in which commands run."""

    top: Path
    forks: Forks

    def run(self, command: str, env: dict[str, str] | None = None, **options: object) -> Done:
        program, *words = command.split()
        _, arguments = COMMANDS[command]
        own = {
            "CUMULUS_HOME": str(self.top / "home"),
            "CUMULUS_CLOUD": "local",
            "CUMULUS_APPS": str(self.top / "apps"),
            "CUMULUS_FLAVORS": str(self.top / "flavors.tsv"),
            "CUMULUS_PORT": "0",
            "CUMULUS_AGENT_HOME": str(self.top / "agent"),
            "CUMULUS_AGENT_TARGET": str(self.top),
            "CUMULUS_AGENT_PORT": "0",
            "TMPDIR": str(self.top / "tmp"),
        }
        return self.forks.run(program, *words, *arguments, folder=self.top, env={**own, **(env or {})}, limit_s=60, **options)

    def seen(self) -> dict[str, tuple[int, int, bytes]]:
        """All that lies here: kind and rights, when it was changed, and content. Folders change while SQLite works in them."""
        return {str(path.relative_to(self.top)): look(path) for path in sorted(self.top.rglob("*")) if not_allowed(path)}


def look(path: Path) -> tuple[int, int, bytes]:
    found = path.lstat()
    return found.st_mode, 0 if path.is_dir() else found.st_mtime_ns, path.read_bytes() if path.is_file() else b""


def not_allowed(path: Path) -> bool:
    return not any(part in ALLOWED for part in path.parts)


def furnished(top: Path, forked: Forks) -> Site:
    shutil.copytree(TEST_APPS, top / "apps")
    (top / "flavors.tsv").write_text(FLAVORS)
    (top / "form.json").write_text(json.dumps(FORM))
    (top / "tmp").mkdir(mode=0o777)
    (top / "tmp").chmod(0o1777)
    return Site(top, forked)


@pytest.fixture
def bare(forked: Forks) -> Iterator[Site]:
    """Without an installation, in a folder that other users see."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield furnished(Path(folder), forked)


@pytest.fixture
def good(bare: Site) -> Site:
    """With an installation that has a job, and an agent that has run."""
    home = bare.top / "home"
    installation_id(home)
    database = open_database(home / "cumulus.sqlite")
    fields = {"owner": "ada", "app": "probe_1.0", "flavor": "m1.4xlarge", "weight": 1, "settings": json.dumps(FORM)}
    create(Job, Change(1.0), state=JobState.DONE, folder=FOLDER, **fields)
    database.close()
    storage = Storage(home / "storage")
    storage.prepare()
    storage.folder(FOLDER).create(json.dumps(FORM))
    open_queue(bare.top / "agent" / "queue.sqlite").close()
    for path in (bare.top, *bare.top.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    return bare


def of(*kinds: str) -> list[str]:
    return [name for name, (kind, _) in COMMANDS.items() if kind in kinds]


def require_line(done: Done) -> None:
    assert done.code in set(ExitCode) - {ExitCode.UNEXPECTED}, done
    assert "Traceback" not in done.stderr, done


NEEDS_HOME = [name for name in of(READS, CHANGES) if name not in ("cumulus submit", "cumulus workflow run", "cumulus cancel")]


@pytest.mark.parametrize("command", NEEDS_HOME)
def test_a_mistyped_home_is_one_line_that_names_the_setting(bare: Site, command: str) -> None:
    before = bare.seen()
    done = bare.run(command)
    assert done.code == ExitCode.FAILED, done
    said = done.stderr.splitlines()[-1]
    if command.startswith("cumulus-agent"):
        assert said.startswith(f"cumulus-agent: no agent has run on {bare.top / 'agent'} (CUMULUS_AGENT_HOME)"), done
    else:
        assert said.startswith(f"cumulus: there is no installation in {bare.top / 'home'} (CUMULUS_HOME)"), done
        assert done.stderr.count("\n") == 1
    assert bare.seen() == before


def test_it_names_the_line_of_the_file_or_the_default(bare: Site) -> None:
    (bare.top / "cumulus.toml").write_text('port = 0\nhome = "elsewhere"\n')
    env = {"CUMULUS_FLAVORS": str(bare.top / "flavors.tsv")}
    done = bare.forks.run("cumulus", "jobs", folder=bare.top, env=env, limit_s=60)
    assert (done.code, "elsewhere (cumulus.toml, line 2): set" in done.stderr) == (ExitCode.FAILED, True), done
    (bare.top / "cumulus-agent.toml").write_text('home = "elsewhere"\n')
    done = bare.forks.run("cumulus-agent", "queue", folder=bare.top, env=env, limit_s=60)
    assert (done.code, "elsewhere (cumulus-agent.toml, line 1): set" in done.stderr) == (ExitCode.FAILED, True), done


@pytest.mark.parametrize("command", ["cumulus doctor", "cumulus flavors", "cumulus flavors sync", "cumulus quota"])
def test_what_does_without_an_installation_says_that_there_is_none(bare: Site, command: str) -> None:
    done = bare.run(command)
    assert f"there is no installation in {bare.top / 'home'}" in done.stdout + done.stderr
    assert "(CUMULUS_HOME)" in done.stdout + done.stderr
    assert f"no agent has run on {bare.top / 'agent'} yet (CUMULUS_AGENT_HOME)" in bare.run("cumulus-agent doctor").stdout


@pytest.mark.parametrize("command", of(OWN, READS))
def test_nothing_is_made_without_an_installation(bare: Site, command: str) -> None:
    before = bare.seen()
    require_line(bare.run(command))
    assert bare.seen() == before
    (bare.top / "home").mkdir()
    (bare.top / "agent").mkdir()
    before = bare.seen()
    require_line(bare.run(command))
    assert bare.seen() == before


@pytest.mark.parametrize("cloud", ["qemu", "openstack"])
def test_whatever_the_cloud_is_nothing_is_made(good: Site, cloud: str) -> None:
    for home in ("nowhere", "home"):
        own = {"CUMULUS_CLOUD": cloud, "CUMULUS_HOME": str(good.top / home), "OS_CLIENT_CONFIG_FILE": str(good.top / "none.yaml")}
        before = good.seen()
        for command in of(OWN, READS):
            if command.startswith("cumulus "):
                require_line(good.run(command, env=own))
                assert good.seen() == before, (command, home)


@pytest.mark.parametrize("command", of(OWN, READS))
def test_a_good_installation_stays_as_it_is(good: Site, command: str) -> None:
    before = good.seen()
    require_line(good.run(command))
    assert good.seen() == before


def with_a_log_left(path: Path) -> None:
    """As a process leaves it that was killed: the last rows are in the log only."""
    script = (
        "import os, sqlite3, sys; rows = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " rows.execute('PRAGMA journal_mode = wal'); rows.execute('CREATE TABLE IF NOT EXISTS left_over (a)'); os._exit(0)"
    )
    subprocess.run(["python3", "-c", script, str(path)], check=True)
    assert path.with_name(f"{path.name}-wal").stat().st_size


@pytest.mark.parametrize("command", of(OWN, READS))
def test_a_log_that_a_killed_controller_left_stays_too(good: Site, command: str) -> None:
    with_a_log_left(good.top / "home" / "cumulus.sqlite")
    with_a_log_left(good.top / "agent" / "queue.sqlite")
    before = good.seen()
    require_line(good.run(command))
    assert good.seen() == before


@needs_root
@pytest.mark.parametrize("command", [name for name in of(READS, OWN) if name != "cumulus db backup"])
def test_another_user_may_look_and_changes_nothing(good: Site, command: str) -> None:
    before = good.seen()
    done = good.run(command, uid=NOBODY)
    require_line(done)
    assert good.seen() == before
    if command == "cumulus jobs":
        assert (done.code, "ada" in done.stdout) == (0, True)
    if command == "cumulus-agent queue":
        assert (done.code, "nothing waits" in done.stdout) == (0, True)


@pytest.fixture
def frozen(good: Site) -> Iterator[Site]:
    """The same, mounted so that nobody can write."""
    mounted = subprocess.run(["mount", "--bind", str(good.top), str(good.top)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(good.top)], check=True)
        yield good
    finally:
        subprocess.run(["umount", "-l", str(good.top)], check=True)


@needs_root
def test_a_read_only_disk_can_be_read(frozen: Site) -> None:
    for command in of(READS, OWN):
        require_line(frozen.run(command))
    assert "ada" in frozen.run("cumulus jobs").stdout
    assert "nothing waits" in frozen.run("cumulus-agent queue").stdout
    assert frozen.run("cumulus drain").code == ExitCode.FAILED


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


@pytest.mark.parametrize("spoil", [Path.unlink, empty, overwrite])
def test_without_a_sound_database_nothing_is_made(good: Site, spoil: Callable[[Path], None]) -> None:
    for path in (good.top / "home" / "cumulus.sqlite", good.top / "agent" / "queue.sqlite"):
        spoil(path)
    before = good.seen()
    for command in of(READS, OWN, CHANGES):
        require_line(good.run(command))
        assert good.seen() == before, command
    done = good.run("cumulus jobs")
    assert (done.code, "cumulus serve" in done.stderr or "cumulus db rebuild" in done.stderr) == (ExitCode.FAILED, True), done


def test_a_lost_id_is_named_and_not_made_anew_by_looking(good: Site) -> None:
    (good.top / "home" / "installation-id").unlink()
    before = good.seen()
    for command in ("cumulus jobs", "cumulus drain", "cumulus state"):
        done = good.run(command)
        assert (done.code, "has lost its id: restore" in done.stderr) == (ExitCode.FAILED, True), done
    assert good.seen() == before


def test_somebody_elses_database_is_told_and_left_alone(good: Site) -> None:
    (good.top / "home" / "installation-id").write_text("c0123456789ab\n")
    database = open_database(good.top / "home" / "cumulus.sqlite")
    StoredSetting.create(name="installation", value="another", at=0.0, who="controller")
    database.close()
    before = good.seen()
    for command in ("cumulus jobs", "cumulus drain", "cumulus storage clean"):
        done = good.run(command)
        assert (done.code, "of another installation (another)" in done.stderr) == (ExitCode.FAILED, True), done
    assert good.seen() == before
