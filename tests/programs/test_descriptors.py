"""A server takes as many connections as the system lets it open files, and says so where that is too few."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from programs.descriptors import TooFewFiles, connections_for
soft, hard, wanted, reserve = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    print(connections_for(wanted, reserve), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
except TooFewFiles as problem:
    print(problem.message)
"""


def tried(soft: int, hard: int, wanted: int, reserve: int) -> str:
    """In a process of its own, since a hard limit does not come back."""
    arguments = [sys.executable, "-c", SCRIPT, *map(str, (soft, hard, wanted, reserve))]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.mark.parametrize(
    ("soft", "hard", "told"),
    [
        (4096, 4096, "1000 4096"),  # enough
        (256, 4096, "1000 2100"),  # raised as far as needed, and no further
        (256, 1000, "450 1000"),  # as far as it goes
        (64, 132, "16 132"),
    ],
)
def test_the_soft_limit_is_raised_and_the_connections_fit(soft: int, hard: int, told: str) -> None:
    assert tried(soft, hard, 1000, 100) == told


@pytest.mark.parametrize("hard", [64, 100, 131])
def test_too_few_files_are_one_line_with_what_to_do(hard: int) -> None:
    told = tried(hard, hard, 1000, 100)
    assert told.startswith(f"only {hard} files may be open at a time, and 132 are needed at least")
    assert "ulimit -Hn" in told
    assert "\n" not in told
