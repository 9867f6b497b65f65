"""What is left out of a folder that is sent, and why.

- Links, and what is neither a file nor a folder: what they lead to is not the folder's own.
- ``*-wal``, ``*-shm``: SQLite's write-ahead log beside a database such as ``analysis.tdf``, and its index. Whoever opens a
  database that has them needs to write beside it, and on a machine inputs are read only. The database without them is whole as of
  its last checkpoint. (A rollback journal, ``*-journal``, is sent: without it a database that was left in the midst of a change
  is broken.)
- Names that begin as Cumulus's own do: such files belong to another upload.
"""

import stat

from agent.sources.paths import PRIVATE_PREFIX

SIDE_FILES = ("-wal", "-shm")
LOG = "-wal"
# For an rsync that walks the folder itself; files that were chosen by themselves are sent whatever their name is.
FILTERS = (
    *(f"--include=/*/**{name}/" for name in ("-[wW][aA][lL]", "-[sS][hH][mM]")),
    *(f"--exclude=/*/**{name}" for name in ("-[wW][aA][lL]", "-[sS][hH][mM]")),
    "--exclude=/*/.cumulus.*",
    "--exclude=/*/**/.cumulus.*",
)


def is_skipped(name: str, mode: int) -> bool:
    """Whether something in a folder is left out, from its name and its mode by lstat()."""
    if name.startswith(PRIVATE_PREFIX):
        return True
    if stat.S_ISDIR(mode):
        return False
    return not stat.S_ISREG(mode) or name.lower().endswith(SIDE_FILES)


def is_unfinished(name: str, size: int) -> bool:
    """Whether a file that is left out shows that a program may be at work: a write-ahead log with something in it."""
    return size > 0 and name.lower().endswith(LOG)
