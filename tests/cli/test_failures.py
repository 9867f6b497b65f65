"""What people and scripts see of a command that cannot do what it should: one line and an exit code, and never a traceback."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
import pytest

from agent.cli import main as agent_commands
from programs.exits import ExitCode
from server.app import make_controller
from server.cli.main import main as commands
from server.cli.shared.backend import short_path
from server.db import connection
from server.db.connection import open_database
from server.db.errors import DatabaseUnusable
from server.db.models import Job
from server.db.transitions import Change, create
from server.home.folder import close_home
from server.home.installation import installation_id
from server.settings import CloudName, Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.cli.beside import running
from tests.conftest import FLAVORS, TEST_APPS, state_of, submission
from tests.forked import Done, Forks, forks

NOBODY = 65534
# What is for who looks after an installation; of these everybody may see the own part of the queue, and the machine sizes.
ADMINISTRATION = {"queue", "priority", "drain", "resume", "state", "hold", "orphans", "quota", "flavors", "template", "snapshot"}
ADMINISTRATION |= {"stop", "doctor", "storage", "db", "import-former"}
# Of the group's commands these are for a user's own files.
OWN_FILES = {("storage", name) for name in ("ls", "put", "get", "rm", "quota")}
FORM = {"text": "x", "seconds": "0", "outcome": "ok"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# Arguments of each command beside which it does its work at once; `serve` would go on for ever where nothing is wrong.
ARGUMENTS = {"job_id": "1", "number": "5", "name": "job-1", "app": "probe_1.0", "form": "form.json", "app_id": "x_1"}
ARGUMENTS |= {"files": "a.dat", "names": "a.dat", "path": "a.dat", "storage": "former", "database": "former/cumulus.db"}
ARGUMENTS |= {"user": "ada", "group": "lab", "token": "1", "url": "http://127.0.0.1:1", "shell": "bash", "role": "user"}


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as made:
        yield made


@dataclass
class Site:
    """An installation, and commands on it."""

    top: Path
    forks: Forks

    @property
    def home(self) -> Path:
        return self.top / "home"

    def run(
        self, *arguments: str | bytes, program: str = "cumulus", env: dict[str, str | bytes] | None = None, **options: object
    ) -> Done:
        own: dict[str, str | bytes] = {
            "CUMULUS_HOME": str(self.home),
            "CUMULUS_CLOUD": "local",
            "CUMULUS_APPS": str(self.top / "apps"),
            "CUMULUS_FLAVORS": str(self.top / "flavors.tsv"),
            "CUMULUS_PORT": "0",
            "CUMULUS_AGENT_HOME": str(self.top / "agent"),
            "CUMULUS_AGENT_TARGET": str(self.top),
            "CUMULUS_AGENT_PORT": "0",
        }
        return self.forks.run(program, *arguments, folder=self.top, env={**own, **(env or {})}, **options)


def furnished(top: Path, forked: Forks) -> Site:
    shutil.copytree(TEST_APPS, top / "apps")
    (top / "flavors.tsv").write_text(FLAVORS)
    (top / "form.json").write_text(json.dumps(FORM))
    return Site(top, forked)


def installed(site: Site) -> Site:
    """With a database, as a controller's first start makes it."""
    installation_id(site.home)
    open_database(site.home / "cumulus.sqlite").close()
    return site


@pytest.fixture
def site(tmp_path: Path, forked: Forks) -> Site:
    return installed(furnished(tmp_path, forked))


@pytest.fixture
def bare(tmp_path: Path, forked: Forks) -> Site:
    """One without an installation."""
    return furnished(tmp_path, forked)


@pytest.fixture
def public(forked: Forks) -> Iterator[Site]:
    """One in a folder that other users see."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield installed(furnished(Path(folder), forked))


def every(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """Each command of a program with its arguments, and with --json where it has that."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every(command, *before, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            needed = [ARGUMENTS[str(one.name)] for one in command.params if isinstance(one, click.Argument) and one.required]
            options = ["--settings", "form.json"] if name == "submit" else []
            as_json = ["--json"] if any("--json" in one.opts for one in command.params) else []
            yield (*before, name, *needed, *options, *as_json)


EVERY = [("cumulus", words) for words in every(commands)] + [("cumulus-agent", words) for words in every(agent_commands)]


def require_told(done: Done, program: str, *, as_json: bool) -> None:
    """One line and a documented exit code; what a program reads stays readable."""
    assert "Traceback" not in done.stdout + done.stderr, done
    assert done.code in set(ExitCode) - {ExitCode.UNEXPECTED}, done
    if done.code == ExitCode.FAILED:
        assert done.stdout or any(line.startswith(f"{program}: ") for line in done.stderr.splitlines()), done
    if as_json and done.stdout.strip():
        json.loads(done.stdout)


WITHOUT_SETTINGS = ("completion", "login", "logout")


def broken_file(site: Site) -> None:
    for name in ("cumulus.toml", "cumulus-agent.toml"):
        (site.top / name).write_bytes(b'# one\n\nhost = "\xe9"\n')


def home_is_a_file(site: Site) -> None:
    for name in ("home", "agent"):
        (site.top / name).write_text("")


def garbage_for_databases(site: Site) -> None:
    for path in (site.home / "cumulus.sqlite", site.top / "agent" / "queue.sqlite"):
        path.parent.mkdir()
        path.write_bytes(b"garbage" * 1000)
    (site.home / "installation-id").write_bytes(b"\xff")
    (site.home / "terraform" / "local-worker" / "state").mkdir(parents=True)  # so there may be machines with another id


@pytest.mark.parametrize("spoil", [broken_file, home_is_a_file, garbage_for_databases])
def test_every_command_says_in_a_line_what_is_wrong(bare: Site, spoil: Callable[[Site], None]) -> None:
    site = bare
    spoil(site)
    for program, words in EVERY:
        done = site.run(*words, program=program, limit_s=30)
        require_told(done, program, as_json="--json" in words)
        if spoil is broken_file and words[0] not in WITHOUT_SETTINGS:
            assert done.stderr == f"{program}: {program}.toml, line 3: this is not UTF-8 text: save the file as UTF-8\n", words


@needs_root
def test_every_command_answers_another_user_in_a_line(public: Site) -> None:
    site = public
    assert site.run("jobs").code == 0
    for private in (False, True):
        site.home.chmod(0o700 if private else 0o755)
        for program, words in EVERY:
            require_told(site.run(*words, program=program, uid=NOBODY, limit_s=30), program, as_json="--json" in words)


@needs_root
def test_every_command_answers_another_user_beside_a_controller_of_root(public: Site) -> None:
    """The controller is this process: it serves at the socket in the home, which is closed as a controller closes it."""
    given = Settings(
        home=public.home, cloud=CloudName.LOCAL, apps=public.top / "apps", flavors=public.top / "flavors.tsv", port=0
    )
    controller = make_controller(given, LocalCloud(given, installation_id(given.home)))
    controller.cloud.start()
    try:
        job = controller.jobs.submit(*submission())
        with running(controller):
            close_home(given.home, given.storage)
            for program, words in EVERY:
                if program == "cumulus":
                    done = public.run(*words, uid=NOBODY, limit_s=30)
                    require_told(done, program, as_json="--json" in words)
                    for_administrators = words[0] in ADMINISTRATION and words[:2] not in OWN_FILES
                    assert done.stderr.count("\n") <= 1 or not for_administrators, (words, done)
                    if (for_administrators and words[0] not in {"queue", "flavors"}) or words[:2] == ("flavors", "sync"):
                        assert done == Done(1, "", "cumulus: only an administrator may do this\n"), (words, done)
                    else:
                        assert done.code != ExitCode.UNEXPECTED, (words, done)
            assert re.findall(r"before: (.*)", public.run("queue", uid=NOBODY).stdout) != [f"{job.id}"]
            assert f"{job.id}" not in re.split(r"[^0-9]+", public.run("queue", uid=NOBODY).stdout.partition("before:")[2])
            assert f"wait for their input files, or for the job before: {job.id}" in public.run("queue").stdout
        assert state_of(job.id) == JobState.UPLOADING
    finally:
        controller.cloud.stop()
        controller.database.close()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"port = \n", "cumulus.toml, line 1: Invalid value"),
        (b'\n\nport = "x"\n', "cumulus.toml, line 3: port must be a valid integer (it is 'x')"),
        (b"pport = 1\n", "cumulus.toml, line 1: there is no setting pport, did you mean port?"),
        (
            b'[min_ready]\n"m1.4xlarge" = -1\n',
            "cumulus.toml, line 1: min_ready.m1.4xlarge must be greater than or equal to 0 (it is -1)",
        ),
        ("port = 1".encode("utf-16"), "cumulus.toml, line 1: this is not UTF-8 text"),
        (b"x = " + b"[" * 100_000, "too deeply"),
    ],
)
def test_a_wrong_settings_file_is_told_with_its_line(site: Site, file: bytes, said: str) -> None:
    (site.top / "cumulus.toml").write_bytes(file)
    done = site.forks.run("cumulus", "jobs", folder=site.top, env={"CUMULUS_HOME": str(site.home)})
    assert (done.code, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_or_a_pipe_in_the_place_of_the_settings_is_told(site: Site) -> None:
    (site.top / "cumulus.toml").mkdir()
    os.mkfifo(site.top / "cumulus-agent.toml")
    for program in ("cumulus", "cumulus-agent"):
        done = site.run("queue", program=program, limit_s=20)
        assert (done.code, f"{program}.toml is a " in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "x", "CUMULUS_PORT: port must be a valid integer (it is 'x')"),
        ("CLOUD", "nonsense", "CUMULUS_CLOUD: cloud must be 'qemu', 'openstack' or 'local' (it is 'nonsense')"),
        ("MIN_READY", "{x", "CUMULUS_MIN_READY: min_ready must be JSON, which this is not"),
        ("MIN_READY", "[" * 50_000, "too deeply"),
        ("HOME", "~no.such.user/x", "~no.such.user/x"),
        ("HOST", b"\xff", "CUMULUS_HOST: host must be"),
        ("FLAVORS", "/nowhere/flavors.tsv", "/nowhere/flavors.tsv: No such file or directory"),
        ("DATABASE", "/proc/x/y", "there is no database /proc/x/y (CUMULUS_DATABASE)"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(site: Site, name: str, value: str | bytes, said: str) -> None:
    done = site.run("queue", env={f"CUMULUS_{name}": value})
    assert (done.code, done.stdout) == (1, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 1, "form.json, line 1: this is not JSON"),
        (b'{\n"a": ,}', 1, "form.json, line 2: this is not JSON"),
        (b'{"text": "\xe9"}', 1, "form.json: this is not text in UTF-8"),
        (b"[]", 1, "form.json: the settings are not a JSON object"),
        (b"[" * 100_000, 1, "form.json: lists or objects are within each other too deeply"),
        (b'{"text": ' + b"9" * 5000 + b"}", 1, "form.json: Exceeds the limit"),
        (b"\xef\xbb\xbf" + json.dumps(FORM).encode(), 0, ""),
        (json.dumps(FORM).encode("utf-16"), 0, ""),
    ],
)
def test_a_form_is_read_in_the_encodings_of_json_or_told_with_its_line(site: Site, content: bytes, code: int, said: str) -> None:
    (site.top / "form.json").write_bytes(content)
    done = site.run("apps", "preview", "probe_1.0", "form.json")
    assert (done.code, said in done.stderr) == (code, True), done
    assert site.run("apps", "preview", "probe_1.0", "-", stdin=content).code == code


@pytest.mark.parametrize("number", ["0" * 16, "1" + "0" * 30, "x", "1.5", b"\xff"])
@pytest.mark.parametrize("command", ["show", "logs", "cancel", "hold", ("priority", "1")])
def test_what_is_no_job_number_is_a_usage_error(site: Site, command: str | tuple[str, str], number: str | bytes) -> None:
    name, *rest = [command] if isinstance(command, str) else command
    done = site.run(name, number, *rest)
    assert (done.code, "is not a job's number" in done.stderr) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(
    "words",
    [("show", "99"), ("show", "99", "--json"), ("logs", "99"), ("logs", "-f", "99"), ("hold", "99"), ("priority", "99", "1")],
)
def test_a_job_that_is_not_there_is_a_failure_in_plain_words(site: Site, words: tuple[str, ...]) -> None:
    assert site.run(*words) == Done(1, "", "cumulus: there is no job 99; `cumulus jobs` lists them\n")


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--owner", b"\xff"),
        ("drain", "--reason", b"\xff"),
        ("state", "destroy", b"\xff"),
        ("hold", "1", "--hours", "nan"),
    ],
)
def test_arguments_that_no_database_takes_are_usage_errors(site: Site, words: tuple[str | bytes, ...]) -> None:
    assert site.run(*words).code == ExitCode.USAGE


def test_a_database_that_another_program_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(connection, "CONTROLLER_PRAGMAS", {**connection.CONTROLLER_PRAGMAS, "busy_timeout": 50})
    path = tmp_path / "cumulus.sqlite"
    open_database(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnusable, match="another program has kept the database locked"):
            open_database(path)


@pytest.mark.parametrize(("encoding", "shown"), [("latin-1", "\\u03bb"), ("ascii", "λ")])
def test_output_is_shown_in_any_encoding(site: Site, encoding: str, shown: str) -> None:
    """In latin-1 it is an escape; click takes ASCII for a mistake and writes UTF-8."""
    site.run("drain", "--reason", "λ")
    done = site.run("queue", env={"PYTHONIOENCODING": encoding, "LC_ALL": "C"})
    assert (done.code, shown in done.stdout) == (0, True), done


@pytest.mark.parametrize(("stdout", "code"), [("/dev/full", 1), ("closed", 0)])
def test_output_that_goes_nowhere(site: Site, stdout: str, code: int) -> None:
    done = site.run("queue", stdout=stdout)
    assert (done.code, done.stderr == "cumulus: the output cannot be written: No space left on device\n") == (code, bool(code))


@needs_root
def test_a_user_without_a_name_can_use_it(public: Site) -> None:
    for path in (public.top, public.home, *public.home.iterdir()):
        os.chown(path, 54321, 54321)
    assert public.run("drain", uid=54321).code == 0
    with contextlib.closing(sqlite3.connect(public.home / "cumulus.sqlite")) as rows:
        assert rows.execute("SELECT who FROM switch").fetchall() == [("uid-54321",)]


def test_a_controller_that_cannot_be_asked_is_told(site: Site) -> None:
    own = {"pid": os.getpid(), "began": psutil.Process().create_time(), "url": "http://127.0.0.1:9"}
    (site.home / "controller.json").write_text(json.dumps(own))
    submitted = ("submit", "probe_1.0", "--settings", "form.json")
    done = site.run(*submitted)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == "cumulus: the controller takes no commands of this computer: its log says why\n"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(short_path(site.home / "controller.sock"))
    for words in (("cancel", "1"), submitted):
        done = site.run(*words)
        assert (done.code, done.stdout) == (1, "")
        assert done.stderr.startswith("cumulus: no controller answers at the socket"), done
        assert done.stderr.count("\n") == 1


def test_the_program_itself_is_inside_the_border(site: Site) -> None:
    """The same through the real entry: a pipe that is closed, and Ctrl-C."""
    cumulus = str(Path(sys.executable).with_name("cumulus"))
    env = {
        **os.environ,
        "CUMULUS_HOME": str(site.home),
        "CUMULUS_CLOUD": "local",
        "CUMULUS_FLAVORS": str(site.top / "flavors.tsv"),
    }
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([cumulus, "queue"], env=env, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (ExitCode.READER_GONE, b"")
    database = open_database(site.home / "cumulus.sqlite")
    fields = {"owner": "ada", "app": "probe_1.0", "flavor": "m1.4xlarge", "weight": 1, "settings": "{}", "folder": "Job_1"}
    create(Job, Change(0.0), state=JobState.RUNNING, **fields)
    database.close()
    waiting = subprocess.Popen([cumulus, "drain", "--wait"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert waiting.stdout
    assert waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err.strip()) == (ExitCode.INTERRUPTED, b"cumulus: interrupted")
