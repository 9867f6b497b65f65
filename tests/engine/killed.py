"""Does one thing with an installation and is killed before the n-th of its writes: ``python -m tests.engine.killed``.

Reads orders as lines of JSON (``settings``, ``act``, ``at``), forks for each, and answers with the child's exit code: -9 where it
was killed, 0 where it came to its end before.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from server.app import make_controller
from server.db.database import Database
from server.home.installation import installation_id
from server.services.principal import Principal
from server.settings import Settings
from server.workers.clouds.local import LocalCloud
from tests.conftest import submission

WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "os.utime", "os.chmod")
OPENED = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Countdown:
    """Kills this process before the n-th write below a folder."""

    def __init__(self, below: str, at: int) -> None:
        self._below = below
        self._left = at
        self.is_armed = False

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: it is called before the thing is done."""
        if not self.is_armed or (event not in WRITES and event != "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & OPENED):
            return
        path = arguments[0]
        # Names alone are given where a folder is removed with all in it.
        if isinstance(path, str | os.PathLike) and (not os.path.isabs(path) or os.fspath(path).startswith(self._below)):
            self.count()

    def count(self) -> None:
        """One more write."""
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def act(order: dict[str, Any]) -> None:
    """Submit or delete; the process may not survive it."""
    settings = Settings.model_validate(order["settings"])
    controller = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    controller.jobs.finish_interrupted()
    countdown = Countdown(str(settings.home), order["at"])
    commit, pwrite = Database.commit, os.pwrite

    def counted_commit(self: Database) -> Any:
        countdown.count()
        return commit(self)

    def counted_pwrite(*arguments: Any) -> int:
        countdown.count()
        return pwrite(*arguments)

    Database.commit = counted_commit  # type: ignore[method-assign]
    os.pwrite = counted_pwrite
    sys.addaudithook(countdown.heard)
    countdown.is_armed = True
    if order["act"] == "submit":
        controller.jobs.submit(*submission(description="the new one"))
    else:
        controller.jobs.delete(Principal.desktop("ada"), int(order["act"]))
    countdown.is_armed = False


def main() -> None:
    """Until there are no more orders."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                sys.stdout = sys.stderr
                act(json.loads(line))
                os._exit(0)
            finally:
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
