"""Whether the queue in its place is this agent's own, at its start. Owns ``queue-id`` in the home folder.

A queue has a number that no other has (:func:`programs.database.file.marked`); the home remembers it. Another agent's queue would
send another computer's files, and is refused. A queue that is gone cannot be made again, since only clients know what was in it:
that is logged, and a new one is begun.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import structlog

from agent.queue.database import QueueUnusable, require_file, unusable
from programs.database.file import mark_of
from programs.database.guarded import GuardedDatabase
from programs.database.sqlite import connect, reading_mode
from programs.errors import explained
from programs.regular import read_regular

FILE = "queue-id"
MAX_BYTES = 64
log = structlog.get_logger()


def require_own(home: Path, path: Path) -> None:
    """Look at the queue before it is opened. Raises QueueUnusable where the home remembers another one.

    Where it remembers one that is gone, the log says so.
    """
    known = _known(home)
    if not known:
        return
    if not require_file(path) or not path.stat().st_size:
        log.error("the queue was lost: a new one is begun, and clients have to send again what was in it", path=str(path))
        (home / FILE).unlink()
        return
    try:
        with closing(connect(path, *reading_mode(path))) as found:
            mark = mark_of(found.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.DatabaseError as problem:
        raise unusable(problem, path) from None
    if known != str(mark):
        raise QueueUnusable(
            f"the queue {path} is another agent's, or another program's: put the right one in its place, or move it away and a"
            f" new one is begun. To go on with it as it is, remove {home / FILE}"
        )


def take_as_own(home: Path, queue: GuardedDatabase) -> None:
    """Guard the queue that was opened, and remember it. Raises QueueUnusable."""
    mark = queue.guard()
    if not _known(home):
        try:
            (home / FILE).write_text(f"{mark}\n")
        except OSError as problem:
            raise QueueUnusable(f"the home folder {home} cannot be used: {explained(problem)}") from None


def _known(home: Path) -> str:
    with suppress(FileNotFoundError):
        try:
            return read_regular(home / FILE, MAX_BYTES).decode("ascii", "replace").strip()
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise QueueUnusable(f"the home folder {home} cannot be used: {explained(problem)}") from None
    return ""
