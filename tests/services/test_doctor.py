"""What `cumulus doctor` says of the room in the storage."""

from pathlib import Path

import pytest

from server.errors import CumulusError
from server.services.doctor import _storage
from server.settings import Settings
from tests.disks import fill, needs_root, small_disk


@needs_root
def test_a_full_storage_is_a_trouble_whatever_is_wanted(settings: Settings, tmp_path: Path) -> None:
    settings.storage, settings.min_free_gb = tmp_path / "small", 0
    with small_disk(settings.storage, "1m"):
        assert _storage(settings).startswith("0 GB free")
        fill(settings.storage / "all")
        with pytest.raises(CumulusError, match="takes no more bytes"):
            _storage(settings)


@needs_root
def test_a_storage_that_takes_no_more_files_is_one_too(settings: Settings, tmp_path: Path) -> None:
    settings.storage, settings.min_free_gb = tmp_path / "small", 0
    with small_disk(settings.storage, "1m,nr_inodes=3"):
        for number in range(2):
            (settings.storage / str(number)).touch()
        with pytest.raises(CumulusError, match="takes no more files"):
            _storage(settings)
