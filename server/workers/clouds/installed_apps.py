"""Whether the apps run on this computer: their version commands, each tried once, when its first job is submitted.

Where jobs run here, there is no snapshot that could remember it, and a program may be installed at any time. So what has
succeeded counts for as long as this process lives, and what has failed is tried again.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable

from server.progress import plain
from server.workers.clouds.smoke_results import MAX_VERSION

LIMIT_S = 60.0  # as much as a converter's help takes on a busy computer
FAILED_FOR_S = 60.0


class OwnApps:
    """The apps of this computer. ``clock``: seconds. Safe to be used from several threads."""

    are_known = True

    def __init__(self, limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: dict[str, str] = {}
        self._failed: dict[str, float] = {}

    def version(self, app: str, command: str) -> str | None:  # noqa: ARG002  # the command says it all
        """What the command prints here; the first time it is run, which takes as long as it takes."""
        with self._lock:
            known = self._versions.get(command)
        if known is not None:
            return known
        version = _printed(command, self._limit_s)
        with self._lock:
            if version is None:
                self._failed[command] = self._clock()
            else:
                self._versions[command] = version
                self._failed.pop(command, None)
        return version

    def lacks(self, app: str, command: str) -> bool:  # noqa: ARG002
        """Whether it has just failed. Nothing is run: clients ask for all apps every few seconds."""
        with self._lock:
            failed = self._failed.get(command)
        return failed is not None and self._clock() - failed < FAILED_FOR_S


def _printed(command: str, limit_s: float) -> str | None:
    """The first line that a shell command prints; None where it fails, or takes too long."""
    with tempfile.TemporaryDirectory(prefix="cumulus-app-", ignore_cleanup_errors=True) as folder:
        try:
            shell = subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError:
            return None
        with shell:
            try:
                printed = shell.communicate(timeout=limit_s)[0]
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)  # with all that it has started
                return None
    if shell.returncode:
        return None
    lines = printed.strip().splitlines()
    return plain(lines[0])[:MAX_VERSION] if lines else ""
