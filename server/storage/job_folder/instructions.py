"""What the controller writes into a job's folder for the worker: the run plan, the lease, the request to stop."""

import json
import os
from contextlib import suppress
from dataclasses import asdict

from server.storage.job_folder.files import PrivateFiles, is_regular_file
from server.storage.job_folder.run_plan import Plan


class Instructions:
    """The controller's side of one job's folder."""

    def __init__(self, files: PrivateFiles) -> None:
        self._files = files

    def write_plan(self, plan: Plan, command: str, *configs: tuple[str, str] | None) -> None:
        """Write the run plan and the command; ``configs``: suffix and text of each config file. Raises OSError."""
        for config in configs:
            if config is not None:
                self._files.replace(f"settings.{config[0]}", config[1])
        self._files.replace("cmd", command + "\n")
        self._files.replace("plan", json.dumps(asdict(plan), indent=1) + "\n")

    def planned_worker(self, attempt: int) -> str:
        """The worker that an attempt's run plan names; "" where the plan is another attempt's, or unreadable."""
        try:
            plan = json.loads(self._files.text("plan"))
            return str(plan["worker"]) if plan["attempt"] == attempt else ""
        except (OSError, ValueError, TypeError, KeyError):
            return ""

    def renew_lease(self) -> None:
        """Tell the runner that the controller still wants its machine. Needs no room once the file is there."""
        lease = self._files.path("lease")
        with suppress(OSError):  # the next renewal may succeed
            if is_regular_file(lease):
                os.utime(lease, follow_symlinks=False)
                return
            lease.unlink(missing_ok=True)  # a link would lead elsewhere
            lease.touch(exist_ok=False)

    def request_stop(self) -> None:
        """Ask a runner that may be at work to end the app; nothing happens where there is no runner or no folder."""
        with suppress(OSError):  # its machine is removed anyway
            request = self._files.path("stop")
            if request.parent.is_dir():
                request.touch()

    def has_stop_request(self) -> bool:
        """Whether the job was asked to stop."""
        return self._files.path("stop").exists()
