"""A pipe, a socket, a device, a link or a folder in place of a file that is read: named and refused, and nothing hangs."""

import json
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from programs.errors import explained
from programs.exits import ExitCode
from programs.regular import is_regular, new_file, open_regular, open_to_append, read_regular
from server.catalog.apps import SCHEMAS, Catalog
from server.catalog.flavors import read_flavors
from server.db.connection import open_database
from server.errors import InvalidInput
from server.home.installation import installation_id
from tests.conftest import FLAVORS, TEST_APPS
from tests.forked import Done, Forks, forks

HUGE = 5 * 10**9  # bytes, which take no room on the disk
LIMIT_S = 40.0
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    """Its name may be longer than a socket's address."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{folder}/s")
        shutil.move(f"{folder}/s", path)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no device can be made here")


def folder(path: Path) -> None:
    path.mkdir()


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name(f"pipe-of-{path.name}.txt"))
    path.symlink_to(path.with_name(f"pipe-of-{path.name}.txt"))


def link_to_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


KINDS = (pipe, listening_socket, device, folder, link_to_a_device, link_to_a_pipe, link_to_nothing, huge)
WAYS = (
    lambda path: open_regular(path, follow=True).close(),
    lambda path: read_regular(path, 1000, follow=True),
    lambda path: read_regular(path, 1000),
    lambda path: open_to_append(path).close(),
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_opened(tmp_path: Path, kind: Callable[[Path], None], way: Callable[[Path], object]) -> None:
    path = tmp_path / "x"
    kind(path)
    if kind is huge and way in (WAYS[0], WAYS[3]):
        way(path)  # who does not read it wholly may have it
        return
    with pytest.raises(OSError, match=re.escape(str(path))) as refused:
        way(path)
    assert str(path) in explained(refused.value)


def test_a_link_to_a_file_is_one_only_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 100, follow=True) == b"content"
    for way in (lambda path: read_regular(path, 100), is_regular, lambda path: open_to_append(path).close()):
        with pytest.raises(OSError, match="link"):
            way(tmp_path / "link")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("kind", [pipe, link_to_a_device, link_to_nothing])
def test_a_programs_own_new_file_takes_the_place_of_whatever_lies_there(tmp_path: Path, kind: Callable[[Path], None]) -> None:
    kind(tmp_path / "x")
    with new_file(tmp_path / "x") as file:
        file.write("content")
    assert read_regular(tmp_path / "x", 100) == b"content"


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as made:
        yield made


class Site:
    """An installation and an agent's home, in which a file is something else."""

    def __init__(self, top: Path, made: Forks) -> None:
        self.top, self._forks = top, made
        shutil.copytree(TEST_APPS, top / "apps")
        (top / "flavors.tsv").write_text(FLAVORS)
        (top / "form.json").write_text(json.dumps(FORM))
        installation_id(top / "home")
        open_database(top / "home" / "cumulus.sqlite").close()
        for place in ("home/log", "agent/log"):
            (top / place).mkdir(parents=True)

    def run(self, line: str, **more: str) -> Done:
        program, *words = line.split()
        own = {
            "CUMULUS_HOME": str(self.top / "home"),
            "CUMULUS_CLOUD": "local",
            "CUMULUS_APPS": str(self.top / "apps"),
            "CUMULUS_FLAVORS": str(self.top / "flavors.tsv"),
            "CUMULUS_PORT": "0",
            "CUMULUS_AGENT_HOME": str(self.top / "agent"),
            "CUMULUS_AGENT_PORT": "0",
            **more,
        }
        return self._forks.run(program, *words, folder=self.top, env=own, limit_s=LIMIT_S)


@pytest.fixture
def site(tmp_path: Path, forked: Forks) -> Site:
    return Site(tmp_path, forked)


SSH = {"CUMULUS_AGENT_TARGET": "ada@localhost:", "CUMULUS_AGENT_RSYNC": "/bin/true"}
DAEMON = {"CUMULUS_AGENT_TARGET": "rsync://localhost/x", "CUMULUS_AGENT_RSYNC": "/bin/true"}
HERE = {"CUMULUS_AGENT_TARGET": "/tmp"}
# The file, the commands that must name it and fail, and their settings. What a start heals is in tests/faults/test_home.py.
FILES: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("cumulus.toml", ("cumulus jobs", "cumulus serve", "cumulus doctor", "cumulus apps list", "cumulus stop"), {}),
    ("flavors.tsv", ("cumulus serve", "cumulus queue", "cumulus flavors", "cumulus flavors sync", "cumulus doctor"), {}),
    ("apps/x.xml", ("cumulus apps check", "cumulus doctor"), {}),
    ("home/installation-id", ("cumulus jobs", "cumulus state", "cumulus drain", "cumulus snapshot list"), {}),
    ("home/cumulus.sqlite", ("cumulus serve", "cumulus jobs", "cumulus drain", "cumulus storage clean", "cumulus db backup"), {}),
    ("cumulus-agent.toml", ("cumulus-agent serve", "cumulus-agent queue", "cumulus-agent doctor", "cumulus-agent status"), {}),
    ("agent/agent.lock", ("cumulus-agent serve",), HERE),
    ("agent/queue.sqlite", ("cumulus-agent serve", "cumulus-agent queue", "cumulus-agent status"), HERE),
    ("agent/queue-id", ("cumulus-agent serve",), HERE),
    ("agent/log/agent.log", ("cumulus-agent serve",), HERE),
    ("agent/id_ed25519", ("cumulus-agent serve", "cumulus-agent doctor"), SSH),
    ("agent/known_hosts", ("cumulus-agent serve", "cumulus-agent doctor"), SSH),
    ("agent/password", ("cumulus-agent serve",), {**DAEMON, "CUMULUS_AGENT_PASSWORD_FILE": "agent/password"}),
)
UNREAD = ("agent.lock", "agent.log", "id_ed25519", "known_hosts", "password")  # how long they are is no matter


CASES = [
    pytest.param(name, lines, more, kind, id=f"{name}-{kind.__name__}")
    for name, lines, more in FILES
    for kind in KINDS
    if kind is not huge or Path(name).name not in UNREAD
]


@pytest.mark.parametrize(("name", "lines", "more", "kind"), CASES)
def test_commands_and_starts_name_it_and_end(
    site: Site, name: str, lines: tuple[str, ...], more: dict[str, str], kind: Callable[[Path], None]
) -> None:
    path = site.top / name
    path.unlink(missing_ok=True)
    kind(path)
    for line in lines:
        done = site.run(line, **more)
        assert done.code == ExitCode.FAILED, (line, done)
        assert path.name in done.stdout + done.stderr, (line, done)
        assert "Traceback" not in done.stderr, (line, done)


@pytest.mark.parametrize("name", ["cumulus.toml", "flavors.tsv", "apps/probe_1.0.xml"])
def test_a_link_to_a_file_outside_is_as_good_as_the_file(site: Site, name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (site.top / name).touch()
    shutil.move(site.top / name, outside)
    (site.top / name).symlink_to(outside)
    assert site.run("cumulus apps check").stdout == "ok       probe_1.0\n"
    assert site.run("cumulus flavors").code == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["controller.json", "log/errors.log"])
def test_what_only_tells_something_is_passed_over(site: Site, name: str, kind: Callable[[Path], None]) -> None:
    kind(site.top / "home" / name)
    for line in ("cumulus jobs", "cumulus stop"):
        assert site.run(line).code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_app_that_becomes_something_else_while_it_runs_hides_no_other(tmp_path: Path, kind: Callable[[Path], None]) -> None:
    now = [0.0]
    shutil.copytree(TEST_APPS, tmp_path / "apps")
    told: list[str] = []
    catalog = Catalog(tmp_path / "apps", clock=lambda: now[0], report=lambda problem: told.append(str(problem)))
    for name in ("a.xml", "z.xml"):
        kind(tmp_path / "apps" / name)
        now[0] += 2
        assert list(catalog.apps()) == ["probe_1.0"]
        assert any(name in line for line in told)
    (tmp_path / "apps" / "probe_1.0.xml").unlink()
    kind(tmp_path / "apps" / "probe_1.0.xml")
    now[0] += 2
    assert catalog.apps() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_machine_sizes_that_become_something_else_are_refused(tmp_path: Path, kind: Callable[[Path], None]) -> None:
    kind(tmp_path / "flavors.tsv")
    with pytest.raises(InvalidInput, match=r"flavors\.tsv"):
        read_flavors(tmp_path / "flavors.tsv")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["app.xsd", "workflow.xsd"])
def test_a_schema_that_is_something_else_is_named(tmp_path: Path, name: str, kind: Callable[[Path], None]) -> None:
    (tmp_path / "schemas").mkdir()
    for one in ("app.xsd", "workflow.xsd"):
        shutil.copy(SCHEMAS / one, tmp_path / "schemas" / one)
    (tmp_path / "schemas" / name).unlink()
    kind(tmp_path / "schemas" / name)
    shutil.copytree(SCHEMAS, tmp_path / "apps")
    problems = Catalog(tmp_path / "apps", schemas=tmp_path / "schemas").problems()
    assert any(name in problem.reason for problem in problems)
