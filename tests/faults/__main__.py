"""`make faults`: the long fault suite, and docs/reliability.md with its figures."""

import sys

import pytest

from tests.faults.figures import forget, report

AT_ONCE = "3"  # most of the time these tests wait for a deadline or a pause

if __name__ == "__main__":
    forget()
    code = pytest.main(["tests/faults", "-m", "long or not long", "-n", AT_ONCE, *sys.argv[1:]])
    report(ok=code == pytest.ExitCode.OK)
    sys.exit(code)
