"""In which order tests begin: what takes longest first, so that nobody waits for one worker at the end."""

import pytest

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


@pytest.hookimpl(tryfirst=True)  # before xdist writes the groups into the names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them, the same way in every worker."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    for rank, prefix in enumerate(FIRST):
        if item.nodeid.startswith(prefix):
            return rank
    return len(FIRST) + (item.get_closest_marker("system") is None)
