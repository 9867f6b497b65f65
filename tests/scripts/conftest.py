"""What tests of scripts share."""

from pathlib import Path

import pytest

from tests.scripts.checkout import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout; root, with terraform and Python, without any package."""
    return Checkout(tmp_path)
