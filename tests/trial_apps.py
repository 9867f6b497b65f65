"""The apps that a snapshot for tests is tried with: the shipped ones and those of the tests. Jobs of others are refused."""

import shutil
from pathlib import Path

from server.settings import CHECKOUT

FOLDERS = (CHECKOUT / "apps", CHECKOUT / "tests" / "apps")


def trial_apps(folder: Path, *names: str) -> Path:
    """Put them into ``folder``, new as they are now; with ``names`` of the shipped ones only those."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shipped, own = (sorted(place.glob("*.xml")) for place in FOLDERS)
    for path in (*(path for path in shipped if not names or path.stem in names), *own):
        shutil.copy(path, folder)
    return folder
