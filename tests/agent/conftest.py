"""What the agent's tests share: settings of a laboratory of this test alone, an agent whose clock is the test's."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.models import Job, Transfer, database_of, open_database
from agent.queue import Queue
from agent.serve import Agent, make_agent
from agent.settings import RootSetting, Settings

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
    deadline = time.monotonic() + limit_s
    while not look():
        pause = agent.loop.tick()
        if agent.loop.is_idle() and pause > 10:
            return
        assert time.monotonic() < deadline, [vars(row) for row in Transfer.select()]
        time.sleep(0.01)
