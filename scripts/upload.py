"""The demonstration's own agent: started on a free port, it puts files into the controller's storage on this computer."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from agent.installation import running_agent
from scripts.children import Child, words
from scripts.lifetime import Life
from server.client import Submitted
from server.errors import CumulusError
from server.settings import Settings

LIMIT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class Uploads:
    """The running agent, used as the desktop client uses it."""

    url: str

    def send(self, owner: str, job: Submitted, shared: Sequence[Path]) -> str:
        """Have the agent send a job's files; returns its answer. Raises CumulusError where it cannot be reached."""
        form = {
            "job_id": str(job.job_id),
            "job_dir": job.folder,
            "owner": owner,
            "files": json.dumps([str(path) for path in shared]),
            "local_files": "[]",
        }
        multipart = {name: (None, text) for name, text in form.items()}
        try:
            return str(httpx.post(f"{self.url}/send-rsync", files=multipart, trust_env=False).json())
        except (httpx.HTTPError, ValueError) as error:
            raise CumulusError(f"the agent does not answer: {error}") from None


@contextmanager
def uploads(settings: Settings, life: Life, controller: str, source: Path) -> Iterator[Uploads]:
    """An agent for files below ``source``, ended in order at the end."""
    home, log = settings.home / "agent", settings.home / "log" / "agent.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    own = {
        "CUMULUS_AGENT_HOME": str(home),
        "CUMULUS_AGENT_TARGET": str(settings.storage),
        "CUMULUS_AGENT_CONTROLLER": controller,
        "CUMULUS_AGENT_ROOTS": json.dumps([{"path": str(source)}]),
        "CUMULUS_AGENT_PORT": "0",
    }
    command = [str(Path(sys.executable).with_name("cumulus-agent")), "serve"]
    with log.open("w") as output, life.child("agent", command, output, {**os.environ, **own}) as child:
        yield Uploads(_wait_ready(home, child, log))


def _wait_ready(home: Path, child: Child, log: Path) -> str:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and child.poll() is None:
        running = running_agent(home)
        if running and running.pid == child.pid:
            return running.url
        time.sleep(POLL_S)
    raise CumulusError(f"the agent did not start:\n{words(log)}")
