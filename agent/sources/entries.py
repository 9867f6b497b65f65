"""One file or folder of a source, as it was found: by a descriptor where the system has them, by its path elsewhere."""

import os
import stat
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file or folder of a source that was looked at. ``path`` begins with the source's name.

    ``is_skipped``: it is left out, with all that is in it. ``name`` below ``folder`` (a descriptor) is how it is reached.
    """

    path: str
    status: os.stat_result
    name: str
    folder: int | None = None
    is_skipped: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)
