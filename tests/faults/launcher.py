"""A real controller process that can be made to die at a point, on a cloud whose tools can be made to fail.

``python -m tests.faults.launcher``: settings from the environment as always; ``CUMULUS_TEST_KILL`` names the point
(``job:queued>provisioning:after``), at its first hit the process is killed with signal 9, by itself. ``CUMULUS_TEST_BIN`` is a
folder with programs that take the place of Ansible's; ``CUMULUS_TEST_CLOCK`` is by how many seconds the clock is wrong.

With arguments: the command ``cumulus`` with them, under the same faults.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> None:
    """Run the controller, or a command."""
    _set_clock(float(os.environ.pop("CUMULUS_TEST_CLOCK", "") or 0))
    point = os.environ.pop("CUMULUS_TEST_KILL", "")
    programs = os.environ.pop("CUMULUS_TEST_BIN", "")
    if point:
        _arm(point)
    if programs:
        _put_before(programs)
    if arguments:
        from server.cli.main import main as cumulus

        return cumulus(arguments)
    from server.serve import serve
    from server.settings import load_settings

    serve(load_settings())


def _set_clock(seconds: float) -> None:
    """Before anything of the program is imported: whoever takes the clock then takes this one."""
    if seconds:
        real = time.time
        time.time = lambda: real() + seconds


def _arm(point: str) -> None:
    """Every change is recorded through one function, within its transaction."""
    from server.db import transitions

    name, _, when = point.rpartition(":")
    record = transitions._record

    def recorded(table: Any, row_id: int, old: str, new: str, change: Any) -> None:
        record(table, row_id, old, new, change)
        if f"{table._meta.table_name}:{old}>{new}" == name and (old or new):
            if when == "before":
                _die()
            table._meta.database.after_commit(_die)

    transitions._record = recorded


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _put_before(programs: str) -> None:
    from server.workers.ansible import playbooks

    environment: Callable[..., dict[str, Any]] = playbooks._environment

    def changed(*arguments: Any) -> dict[str, Any]:
        found = environment(*arguments)
        return {**found, "PATH": f"{programs}{os.pathsep}{found['PATH']}"}

    playbooks._environment = changed  # type: ignore[assignment]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(sys.argv[1:])
