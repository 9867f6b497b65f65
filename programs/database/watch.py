"""A thread that looks once a second whether a database's file is still the one that is open, and logs when that changes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from peewee import DatabaseError

from programs.database.guarded import GuardedDatabase

LOOK_S = 1.0
JOIN_S = 5.0
log = structlog.get_logger()


@contextmanager
def watched(database: GuardedDatabase, cure: str, look_s: float = LOOK_S) -> Iterator[None]:
    """Look meanwhile. ``cure``: what the log says is to be done about a loss."""
    connected, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=_watch, args=(database, cure, look_s, connected, over), name="database watch", daemon=True)
    thread.start()
    connected.wait(JOIN_S)  # a connection older than any loss can save the log
    try:
        yield
    finally:
        over.set()
        thread.join(JOIN_S)


def _watch(database: GuardedDatabase, cure: str, look_s: float, connected: threading.Event, over: threading.Event) -> None:
    known = ""
    with suppress(DatabaseError):  # then there is a trouble already
        database.connect(reuse_if_open=True)
    connected.set()
    while not over.wait(look_s):
        trouble = database.trouble()
        if trouble and not known:
            log.error("the database is lost: nothing more is written, new work is refused", detail=trouble, cure=cure)
            _save(database)
            database.leave_as_it_is()
        elif known and not trouble:
            log.warning("the database is in its place again")
        known = trouble
    database.close()


def _save(database: GuardedDatabase) -> None:
    """What only the removed log had goes into the main file, so that the next start finds it."""
    try:
        if database.save_log():
            log.warning("what the removed log had is in the main file now; the next start goes on from it")
    except DatabaseError as problem:
        log.error("what the removed log had could not be saved", detail=str(problem))  # noqa: TRY400  # the reason is expected
