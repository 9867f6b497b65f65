"""Whether a row may have changed since the last question, whoever changed it: for what is made from rows and kept."""

import threading
from collections.abc import Callable
from pathlib import Path

from programs.database.sqlite import connect
from server.db.dialects.sqlite import commits_of_others


class ChangeCounter:
    """A number that changes with each commit of any process.

    The database counts for each connection what the others commit, so this is a connection of its own, which writes nothing.
    """

    def __init__(self, path: Path, require_file: Callable[[], None] = lambda: None) -> None:
        """``require_file``: raises where the file is not the one that was opened any more."""
        self._connection = connect(path, "rw", several_threads=True)
        self._require_file = require_file
        self._lock = threading.Lock()

    def number(self) -> int:
        """The number now."""
        with self._lock:
            self._require_file()
            return commits_of_others(self._connection)
