"""The command line: settings from files and variables, the queue on a terminal, what a computer lacks."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import main
from agent.doctor import Finding, examine
from agent.errors import InvalidInput
from agent.queue.database import open_database
from agent.queue.models import Job, Transfer, database_of
from agent.sending.target import Kind, read_target
from agent.serve import Agent
from agent.settings import Settings, load_settings
from tests.agent.conftest import Lab, order, settle
from tests.agent.sshd import Sshd


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def variables(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the agent under test."""
    settings = agent.settings
    monkeypatch.setenv("CUMULUS_AGENT_HOME", str(settings.home))
    monkeypatch.setenv("CUMULUS_AGENT_TARGET", settings.target)
    monkeypatch.setenv("CUMULUS_AGENT_ROOTS", json.dumps([root.model_dump() for root in settings.roots]))
    monkeypatch.setenv("CUMULUS_AGENT_PORT", "0")


def run(*words: str) -> Result:
    result = CliRunner().invoke(main, words, env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_settings_come_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('target = "c:"\nport = 8080\n[[roots]]\npath = "/srv/raw"\nseen_as = ["Z:/"]\n')
    run("--config", str(tmp_path / "a.toml"), "queue")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUMULUS_AGENT_CONFIG", str(tmp_path / "a.toml"))
        patch.setenv("CUMULUS_AGENT_PORT", "8081")
        settings = load_settings()
    assert (settings.target, settings.port, settings.places()[0].seen_as[0].anchor) == ("c:", 8081, "Z:/")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("colour = 1", "setting colour"),
        ("port = 70000", "setting port"),
        ("parallel = 0", "setting parallel"),
        ('controller = "ftp://c"', "setting controller"),
        ('[[roots]]\npath = "data"', "setting roots.0"),
        ('[[roots]]\npath = "/data"\nseen_as = ["x"]', "setting roots.0"),
        ('verify = "never"', "setting verify"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str, field: str) -> None:
    (tmp_path / "cumulus-agent.toml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert caught.value.field == field


def test_a_file_that_is_named_and_missing_is_an_error() -> None:
    result = run("--config", "nowhere.toml", "queue")
    assert (result.exit_code, "nowhere.toml" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "kind", "base"),
    [
        ("/srv/storage", Kind.LOCAL, "/srv/storage/"),
        ("/srv/storage/", Kind.LOCAL, "/srv/storage/"),
        ("cumulus@host.example.org:", Kind.SSH, "cumulus@host.example.org:"),
        ("host:/srv/storage", Kind.SSH, "host:/srv/storage/"),
        ("rsync://host/module", Kind.DAEMON, "rsync://host/module/"),
        ("rsync://me@[::1]:873/module/x/", Kind.DAEMON, "rsync://me@[::1]:873/module/x/"),
    ],
)
def test_a_target_is_read(text: str, kind: Kind, base: str) -> None:
    found = read_target(text)
    assert (found.kind, found.at("data")) == (kind, f"{base}data")


@pytest.mark.parametrize(
    "text",
    ["", "storage", "-oProxyCommand=id:x", "host:$(id)", "host:a b", "a@b@c:", "-x@host:", "rsync://", "rsync://h", "h;id:/x"],
)
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_target(text)


@pytest.mark.usefixtures("variables")
def test_the_queue_is_shown_for_people_and_programs_without_an_agent(agent: Agent, lab: Lab) -> None:
    assert "nothing waits" in run("queue").output
    open_database(agent.settings.database)  # the command has opened it for reading
    order(agent, lab, 1, f"{lab.source}/[red]\x1b[31m\nx.raw", lab.write("b.raw"))
    Transfer.update(bytes=1000, sent=420).where(Transfer.name == "b.raw").execute()
    shown = run("queue").output
    assert "\x1b" not in shown
    assert "[red]" in shown
    assert "42 %" in shown
    lines = json.loads(run("queue", "--json").output)
    assert [(line["name"], line["percent"]) for line in lines][1] == ("b.raw", 42)
    assert database_of(Job)


@pytest.mark.usefixtures("variables")
def test_status_says_that_nobody_answers(agent: Agent, lab: Lab) -> None:
    order(agent, lab, 1, lab.write("a.raw"))
    settle(agent)
    result = run("status")
    assert result.exit_code == 1
    assert "no agent runs" in result.output
    assert "1  delivered" in result.output


@pytest.mark.usefixtures("variables")
def test_doctor_names_what_is_missing_and_nothing_else(agent: Agent, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = [one["name"] for one in json.loads(run("doctor", "--json").output) if not one["ok"]]
    assert lacks == ["controller"]
    monkeypatch.setenv("CUMULUS_AGENT_RSYNC", "no-such-rsync")
    monkeypatch.setenv("CUMULUS_AGENT_TARGET", "cumulus@127.0.0.1:")
    monkeypatch.setenv("CUMULUS_AGENT_ROOTS", "[]")
    result = run("doctor")
    assert result.exit_code == 1
    for word in ("apt-get install rsync", "no roots are set", "ssh-keygen -t ed25519", "ssh-keyscan"):
        assert word in result.output


@pytest.mark.usefixtures("variables")
@pytest.mark.parametrize(
    ("name", "value"), [("TARGET", ""), ("TARGET", "cumulus@c:"), ("HOST", "192.0.2.1"), ("RSYNC", "nowhere")]
)
def test_an_agent_that_could_send_nothing_does_not_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CUMULUS_AGENT_{name}", value)
    result = run("serve")
    assert result.exit_code == 1
    assert result.output.startswith("cumulus-agent: ")


def test_doctor_asks_the_storage_by_ssh_whether_it_takes_files(ssh_settings: Settings, sshd: Sshd, lab: Lab) -> None:
    def found() -> dict[str, Finding]:
        return {one.name: one for one in examine(ssh_settings)}

    assert found()["storage"] == Finding("storage", True, f"{ssh_settings.target} takes files")
    assert found()["ssh key"].ok
    (sshd.folder / "authorized_keys").write_text("")
    assert "refuses the agent's key" in found()["storage"].text
    ssh_settings.known_hosts.unlink()
    assert f"ssh-keyscan -t ed25519 -p {sshd.port} 127.0.0.1" in found()["host key"].text
