"""Everything that can be killed is killed with -9 in the midst of a slow transfer: nothing is lost, little is sent twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from agent.installation import running_agent
from agent.sending.children import MARK
from agent.sending.rsync import PARTIAL
from agent.settings import Settings
from tests.agent.conftest import Lab
from tests.agent.hearing import Hearing
from tests.agent.sshd import Sshd
from tests.processes import is_alive

pytestmark = pytest.mark.system

AGENT = str(Path(sys.executable).with_name("cumulus-agent"))
SIZE = 8_000_000
SLOW_KIB = 4_000  # two seconds for the file
LIMIT_S = 60.0
T = TypeVar("T")


@dataclass
class Running:
    """An agent in a process of its own, as it runs at a laboratory."""

    settings: Settings
    child: "subprocess.Popen[bytes]"
    url: str

    def post(self, lab: Lab, number: int, *files: str) -> None:
        form = {
            "job_id": str(number),
            "job_dir": lab.job(number),
            "owner": "akeller",
            "files": json.dumps(files),
            "local_files": "[]",
        }
        assert "queued" in httpx.post(f"{self.url}/send-rsync", data=form).json()

    def progress(self, number: int) -> dict[str, int]:
        return dict(httpx.get(f"{self.url}/progress-rsync/akeller/{number}").json())

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


def environment(settings: Settings) -> dict[str, str]:
    own = {
        f"CUMULUS_AGENT_{name.upper()}": str(value) for name, value in settings.model_dump().items() if value not in (None, ())
    }
    own["CUMULUS_AGENT_ROOTS"] = json.dumps([root.model_dump() for root in settings.roots])
    return {**os.environ, **own}


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """The agent, until the end of the block, where it is ended in order if nobody killed it."""
    log = settings.home.parent / "agent.out"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [AGENT, "serve"], env=environment(settings), stdout=output, stderr=output, cwd=settings.home.parent
        )
    try:
        found = wait(lambda: running_agent(settings.home), log)
        assert found.pid == child.pid
        wait(lambda: answers(found.url), log)
        yield Running(settings, child, found.url)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}//").status_code == 200
    except httpx.TransportError:
        return False


def wait(look: Callable[[], T | None], log: Path | None = None) -> T:
    deadline = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, log.read_text() if log else "it did not come true in time"
        time.sleep(0.05)
    return found


def children_of(home: Path) -> list[psutil.Process]:
    """All that an agent on this home has started and that still runs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(home) and is_alive(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def partial(lab: Lab) -> int:
    """Bytes of a.raw that are in the storage, kept or just coming in."""
    files = [*lab.data.glob(f".upload.*/{PARTIAL}/a.raw"), *lab.data.glob(".upload.*/.a.raw.*")]
    return max((path.stat().st_size for path in files if path.exists()), default=0)


@pytest.fixture
def slow(ssh_settings: Settings) -> Settings:
    return ssh_settings.model_copy(update={"bwlimit_kib": SLOW_KIB, "retry_delay_s": 0.2})


@pytest.fixture
def raw(lab: Lab) -> Path:
    return Path(lab.write("a.raw", random.Random(1).randbytes(SIZE)))


def test_a_killed_agent_goes_on_where_it_was(slow: Settings, lab: Lab, raw: Path) -> None:
    with running(slow) as first:
        first.post(lab, 1, str(raw))
        wait(lambda: partial(lab) > SIZE // 3)
        assert not (lab.data / "a.raw").exists()
        first.kill()
    with running(slow) as second:
        assert list(second.progress(1)) == ["a.raw"]
        wait(lambda: lab.is_marked(1))
        assert second.progress(1) == {}
    assert (lab.data / "a.raw").read_bytes() == raw.read_bytes()
    assert sorted(path.name for path in lab.data.iterdir()) == ["a.raw"]


def test_what_a_killed_agent_left_is_ended_before_the_next_one_sends(slow: Settings, lab: Lab, raw: Path) -> None:
    with running(slow) as first:
        first.post(lab, 1, str(raw))
        wait(lambda: partial(lab) > SIZE // 10)
        left = children_of(slow.home)
        for process in left:
            process.suspend()  # it cannot notice that its agent is gone
        first.kill()
    assert left
    assert all(process.is_running() for process in left)
    with running(slow):
        assert not any(map(is_alive, left))
        wait(lambda: lab.is_marked(1))
    assert (lab.data / "a.raw").read_bytes() == raw.read_bytes()


def test_a_killed_rsync_is_begun_again_and_sends_the_rest_only(slow: Settings, lab: Lab, raw: Path) -> None:
    with running(slow) as agent:
        agent.post(lab, 1, str(raw))
        wait(lambda: partial(lab) > SIZE // 2)
        for process in children_of(slow.home):
            with suppress(psutil.NoSuchProcess):  # ssh ends with its rsync
                process.kill()
        begin = time.monotonic()
        wait(lambda: lab.is_marked(1))
        assert (lab.data / "a.raw").read_bytes() == raw.read_bytes()
        assert agent.child.poll() is None
    assert "transfer is tried again" in (slow.home / "log" / "agent.log").read_text()
    assert time.monotonic() - begin < LIMIT_S


def test_a_killed_ssh_server_is_waited_for(slow: Settings, sshd: Sshd, lab: Lab, raw: Path) -> None:
    with running(slow) as agent:
        agent.post(lab, 1, str(raw))
        wait(lambda: partial(lab) > SIZE // 4)
        sshd.stop(signal.SIGKILL)
        wait(lambda: "tried again" in (slow.home / "log" / "agent.log").read_text())
        assert list(agent.progress(1)) == ["a.raw"]
        assert not lab.is_marked(1)
        sshd.start()
        wait(lambda: lab.is_marked(1))
    assert (lab.data / "a.raw").read_bytes() == raw.read_bytes()


def test_a_cancelled_job_ends_its_transfer_at_once(slow: Settings, lab: Lab, raw: Path) -> None:
    with running(slow.model_copy(update={"bwlimit_kib": 500})) as agent:
        agent.post(lab, 1, str(raw))
        wait(lambda: partial(lab) > 0)
        refused = httpx.get(f"{agent.url}/cancel-rsync/somebody/1").json()
        assert "Nothing" in refused
        assert children_of(slow.home)
        assert "No more files" in httpx.get(f"{agent.url}/cancel-rsync/akeller/1").json()
        wait(lambda: not [one for one in children_of(slow.home) if one.name() == "rsync"])
        assert agent.progress(1) == {}
    assert not (lab.data / "a.raw").exists()
    assert not lab.is_marked(1)


def test_a_stopped_agent_leaves_nothing_running_and_a_second_one_is_refused(slow: Settings, lab: Lab, raw: Path) -> None:
    with running(slow.model_copy(update={"bwlimit_kib": 500})) as agent:
        agent.post(lab, 1, str(raw))
        wait(lambda: children_of(slow.home))
        second = subprocess.run([AGENT, "serve"], env=environment(slow), capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert "already runs" in second.stderr
    assert children_of(slow.home) == []


def test_a_controller_hears_of_a_job_that_must_fail_even_if_it_was_down(slow: Settings, lab: Lab) -> None:
    hearing = Hearing()
    with running(slow.model_copy(update={"controller": hearing.url})) as agent:
        agent.post(lab, 7, str(lab.source / "missing.raw"))
        wait(lambda: "tried again" in (slow.home / "log" / "agent.log").read_text())
        agent.kill()
    with hearing.listening(), running(slow.model_copy(update={"controller": hearing.url})):
        wait(lambda: hearing.heard)
    assert hearing.heard == [("7", f"{lab.source / 'missing.raw'} does not exist")]
