"""The shared provider process seen from the controller: started once, started again when it died, ended with the controller.

It is never killed: a machine in the making would be in no state.
"""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from server.cloud_settings.qemu import Accelerator
from server.errors import InfrastructureError
from server.home.files import open_log

STOP_GRACE_S = 1.0


class SharedProvider:
    """One ``serve.py shared`` for the home; its standard input is held open as long as this object's owner lives."""

    def __init__(self, home: Path, log: Path, accelerator: Accelerator = Accelerator.AUTO) -> None:
        self._home = home
        self._accelerator = accelerator
        self._log = log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._reattach = ""

    def reattach(self) -> str:
        """The value of ``TF_REATTACH_PROVIDERS`` of a provider that lives, started if need be. Raises InfrastructureError."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._reattach

    def stop(self) -> None:
        """Have the provider end, and wait a moment for it; not an error where none runs.

        One that still makes machines ends by itself when they are made: a controller has ten seconds for its own end, and the
        next one finds them.
        """
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        if _ends(process):
            self._forget_socket()
        self._reattach = ""

    def _forget_socket(self) -> None:
        """Remove the folder of a provider that was killed; one that ended has removed it itself."""
        if self._reattach:
            (known,) = json.loads(self._reattach).values()
            shutil.rmtree(Path(known["Addr"]["String"]).parent, ignore_errors=True)
            self._reattach = ""

    def _start(self) -> None:
        self._forget_socket()
        with open_log(self._log) as log:
            program = [sys.executable, "-m", "server.workers.clouds.qemu.serve", "shared"]
            command = [*program, "--home", str(self._home), "--accelerator", self._accelerator]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a Ctrl-C meant for the controller must not end it
            )
        assert self._process.stdout is not None
        self._reattach = self._process.stdout.readline().strip()
        if not self._reattach:
            code = self._process.wait()
            raise InfrastructureError(f"the terraform provider did not start (exit code {code}), see {self._log}")


def _ends(process: "subprocess.Popen[str]") -> bool:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    try:
        process.wait(STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        return False
    return True
