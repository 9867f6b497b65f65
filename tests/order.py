"""How the suite is shared among several workers (pytest-xdist): what belongs together, and what begins first.

A group stays on one worker, one test after the other: its tests share an installation with its machines, or something that takes
long to make. All other tests go to whoever has time. pytest-xdist's own marks for groups have no effect with pytest 9.2.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Module -> group. Each group of tests/e2e has a home folder of its own (tests/e2e/homes.py).
GROUPS = {
    "tests/e2e/test_apps.py": "controllers",
    "tests/e2e/test_catastrophe.py": "controllers",
    "tests/e2e/test_demo.py": "controllers",
    "tests/e2e/test_private.py": "controllers",
    "tests/e2e/test_ready_machines.py": "controllers",
    "tests/e2e/test_workflow.py": "controllers",
    "tests/e2e/test_outages.py": "outages",
    "tests/e2e/test_accelerator.py": "machines",
    "tests/e2e/test_qemu_template.py": "machines",
    "tests/e2e/test_qemu_workers.py": "machines",
    "tests/e2e/test_warm_images.py": "machines",
    "tests/test_own_file.py": "own file",
    "tests/db/test_search.py": "search",
    "tests/workers/clouds/test_modules.py": "modules",
}
# Minutes together, most of them waiting: machines, storms, then lives of whole programs.
FIRST = (
    "tests/e2e/",
    "tests/faults/test_storms.py",
    "tests/faults/test_model.py",
    "tests/faults/test_restart.py",
    "tests/agent/test_crashes.py",
    "tests/test_own_file.py",
    "tests/faults/",
)


def group_of(name: str) -> str:
    """The group of a test or of its module, by its name (``tests/e2e/test_apps.py::test_…``); its own where it is in none."""
    return GROUPS.get(name.partition("::")[0], name)


class Groups(LoadScopeScheduling):
    """Gives each worker a whole group at a time, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Share the tests out by group."""
    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests, the same way in every worker: what takes longest first, so that nobody waits for one worker at the end."""
    items.sort(key=lambda item: _rank(item.nodeid, item.get_closest_marker("system") is not None))


def _rank(name: str, is_system: bool, first: Sequence[str] = FIRST) -> int:
    for rank, prefix in enumerate(first):
        if name.startswith(prefix):
            return rank
    return len(first) + (not is_system)
