"""What the agent's tests share: settings of a laboratory of this test alone, an agent whose clock is the test's."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.queue.database import open_database
from agent.queue.models import Job, Transfer, database_of
from agent.queue.queue import Queue
from agent.serve import Agent, make_agent
from agent.settings import RootSetting, Settings
from tests.agent.sshd import SSHD, Sshd, running_sshd

LONG_AGO_S = 3600.0
LIMIT_S = 30.0


@dataclass
class Clock:
    """Time that passes when the test says so."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Lab:
    """A laboratory's computer and the controller's storage, as folders."""

    top: Path

    @property
    def source(self) -> Path:
        return self.top / "instrument"

    @property
    def storage(self) -> Path:
        return self.top / "storage"

    @property
    def data(self) -> Path:
        return self.storage / "data"

    def write(self, name: str, content: bytes | str = b"spectra", age_s: float = LONG_AGO_S) -> str:
        """A file of the instrument, written so long ago; its path, as the client sends it."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (time.time() - age_s,) * 2)
        return str(path)

    def job(self, number: int) -> str:
        """A job's folder as the controller makes it; its name."""
        name = f"Job_{number}_akeller_probe_1.0_{1_700_000_000 + number}"
        (self.storage / "jobs" / name / "input").mkdir(parents=True, exist_ok=True)
        return name

    def in_job(self, number: int, name: str) -> Path:
        return self.storage / "jobs" / self.job(number) / name

    def is_marked(self, number: int) -> bool:
        return self.in_job(number, ".cumulus.rsync").exists()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    for folder in (made.source, made.data, made.storage / "jobs"):
        folder.mkdir(parents=True)
    return made


@pytest.fixture
def agent_settings(lab: Lab) -> Settings:
    """An agent that copies between folders of this computer."""
    return Settings(
        home=lab.top / "agent",
        target=str(lab.storage),
        roots=(RootSetting(path=str(lab.source)),),
        port=0,
        retry_delay_s=0.1,
        survey_interval_s=0.1,
        stable_s=0.5,
        fsync=False,
    )


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue."""
    database = open_database(tmp_path / "queue.sqlite")
    yield Queue()
    database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agent(agent_settings: Settings) -> Iterator[Agent]:
    """The parts of an agent, joined; its loop does not run."""
    made = make_agent(agent_settings)
    yield made
    made.loop.stop()
    database_of(Job).close()


def settle(agent: Agent, look: Callable[[], bool] = lambda: False, limit_s: float = LIMIT_S) -> None:
    """Run the loop's rounds until nothing is left to do, or ``look`` finds what the test waits for."""
    deadline, quiet = time.monotonic() + limit_s, 0
    while not look():
        was_idle = agent.loop.is_idle()
        pause = agent.loop.tick()
        # Twice: what one round began may have ended within it, and have left something due.
        quiet = quiet + 1 if was_idle and agent.loop.is_idle() and pause > 10 else 0
        if quiet == 2:
            return
        assert time.monotonic() < deadline, [row.__data__ for row in Transfer.select().limit(5)]
        time.sleep(0.02)


@pytest.fixture
def sshd(tmp_path: Path, lab: Lab) -> Iterator[Sshd]:
    """An ssh server that takes uploads to the laboratory's storage, and nothing else."""
    if not SSHD:
        pytest.skip("no sshd on this computer (Debian: openssh-server)")
    with running_sshd(tmp_path / "sshd") as made:
        made.allow(lab.storage)
        yield made


@pytest.fixture
def ssh_settings(agent_settings: Settings, sshd: Sshd) -> Settings:
    """An agent that sends by ssh."""
    agent_settings.home.mkdir()
    known_hosts = agent_settings.home / "known_hosts"
    sshd.trust(known_hosts)
    return agent_settings.model_copy(
        update={
            "target": f"{sshd.login}:",
            "ssh_port": sshd.port,
            "ssh_key": sshd.folder / "key",
            "known_hosts": known_hosts,
            "timeout_s": 10,
        }
    )


@pytest.fixture
def remote(ssh_settings: Settings) -> Iterator[Agent]:
    """The parts of an agent that sends by ssh; its loop does not run."""
    made = make_agent(ssh_settings)
    yield made
    made.loop.stop()
    database_of(Job).close()


def order(agent: Agent, lab: Lab, number: int, *shared: str, local: tuple[str, ...] = (), owner: str = "akeller") -> str:
    """What the client posts; the agent's sentence."""
    form = {
        "job_id": str(number),
        "job_dir": lab.job(number),
        "owner": owner,
        "files": json.dumps(shared),
        "local_files": json.dumps(local),
    }
    answer = agent.app.test_client().post("/send-rsync", data=form, content_type="multipart/form-data")
    assert answer.status_code == 200
    return str(answer.get_json())


def job_state(number: int) -> str:
    return str(Job.get(Job.number == number).state)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
