"""One call of terraform as a child process: its process group, its time limit, where its words go and how its errors read.

Knows nothing of modules and workspaces.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from python_terraform import Terraform

from server.errors import InfrastructureError
from server.home.files import open_anew
from server.process_priority import TOOL, step_back

INTERRUPT_GRACE_S = 15.0
OUTPUT_LIMIT = 1_000_000  # bytes
_DECORATION = re.compile(r"^[\s│╷╵]*", re.MULTILINE)


class TerraformError(InfrastructureError):
    """A terraform command failed; the message is terraform's own first error, ``output`` all that it printed."""

    code = "terraform"

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class TerraformTimeout(TerraformError):
    """A terraform command was ended because it took longer than allowed."""

    code = "terraform_timeout"


class Command(Terraform):  # type: ignore[misc]  # the package has no types
    """python-terraform with an environment and a time limit per call; its own has neither."""

    def __init__(self, module: Path, binary: str, environment: Mapping[str, str], timeout_s: float, words: Path) -> None:
        super().__init__(working_dir=str(module), terraform_bin_path=binary)
        self._environment = environment
        self._timeout_s = timeout_s
        self._words = words

    def read_state_file(self, file_path: str | None = None) -> None:
        """The state is not in the module's folder: nothing to read there."""

    def cmd(self, cmd: str, *args: str, **options: Any) -> tuple[int, str, str]:
        """Run one command to its end; returns exit code, output, "". Raises TerraformTimeout.

        Its words go to a file: a pipe that breaks when the controller is killed would end terraform before it has written its
        state.
        """
        argv = self.generate_cmd_string(cmd, *args, **options)
        with open_anew(self._words) as words:
            child = subprocess.Popen(
                argv,
                cwd=self.working_dir,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C meant for the controller must not interrupt an apply
            )
            step_back(child.pid, TOOL)
            try:
                code = child.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                _interrupt(child)
                raise TerraformTimeout(f"terraform {cmd} took longer than {self._timeout_s:.0f} s", _said(words)) from None
            except BaseException:  # Ctrl-C at a command line: two terraforms must not be at work on one workspace
                _interrupt(child)
                raise
            return code, _said(words), ""


def _said(words: IO[bytes]) -> str:
    """What was printed, whatever has become of the file's name meanwhile."""
    return os.pread(words.fileno(), OUTPUT_LIMIT, 0).decode(errors="replace")


def _interrupt(child: "subprocess.Popen[bytes]") -> None:
    """Let terraform write its state before it ends; kill it only if it will not."""
    os.killpg(child.pid, signal.SIGINT)
    try:
        child.wait(INTERRUPT_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def first_error(output: str) -> str:
    """The first ``Error: …`` paragraph of terraform's output on one line; the last line where there is none."""
    plain = _DECORATION.sub("", output)
    if found := re.search(r"^Error: (.+?)(?:\n\n\n|\nError: |\Z)", plain, re.MULTILINE | re.DOTALL):
        return " ".join(found.group(1).split())[:500]
    lines = plain.strip().splitlines()
    return lines[-1][:500] if lines else "terraform printed nothing"


def last_object(output: str) -> dict[str, Any]:
    """The JSON object on the last line that is one: terraform may have warned before it."""
    for line in reversed(output.splitlines()):
        with suppress(ValueError):
            if isinstance(found := json.loads(line), dict):
                return found
    raise TerraformError("terraform show: it printed no plan", output)
