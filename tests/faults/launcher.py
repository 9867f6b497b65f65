"""A real controller process that can be made to die at a point, on a cloud whose tools can be made to fail.

``python -m tests.faults.launcher``: settings from the environment as always; ``CUMULUS_TEST_KILL`` names the point
(``job:queued>provisioning:after``), at its first hit the process is killed with signal 9, by itself. ``CUMULUS_TEST_BIN`` is a
folder with programs that take the place of Ansible's.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server import models
from server.settings import load_settings
from server.workers import playbooks


def main() -> None:
    """Run the controller."""
    point = os.environ.pop("CUMULUS_TEST_KILL", "")
    programs = os.environ.pop("CUMULUS_TEST_BIN", "")
    if point:
        _arm(point)
    if programs:
        _put_before(programs)
    from server.serve import serve

    serve(load_settings())


def _arm(point: str) -> None:
    """Every change is recorded through one function, within its transaction."""
    name, _, when = point.rpartition(":")
    record = models._record

    def recorded(table: type[models.Row], row_id: int, old: str, new: str, change: models.Change) -> None:
        record(table, row_id, old, new, change)
        if f"{table._meta.table_name}:{old}>{new}" == name and (old or new):
            if when == "before":
                _die()
            table._meta.database.after_commit(_die)

    models._record = recorded  # type: ignore[assignment]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _put_before(programs: str) -> None:
    environment: Callable[..., dict[str, Any]] = playbooks._environment

    def changed(*arguments: Any) -> dict[str, Any]:
        found = environment(*arguments)
        return {**found, "PATH": f"{programs}{os.pathsep}{found['PATH']}"}

    playbooks._environment = changed  # type: ignore[assignment]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
