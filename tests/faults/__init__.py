"""Lives of jobs under faults: kill points, storms, a damaged home, and the promises checked from outside."""

import pytest

pytest.register_assert_rewrite("tests.faults.promises")
