"""A storage of a test's own, with a job's folder in it."""

from pathlib import Path

import pytest

from server.storage.folders import JobFolder, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty one."""
    made = Storage(tmp_path / "storage")
    made.prepare()
    return made


@pytest.fixture
def folder(storage: Storage) -> JobFolder:
    """The folder of a job that was just submitted."""
    made = storage.folder("Job_1_ada_comet_0")
    made.create('{"a": 1}')
    return made
