"""A thread that checks once a second whether a database's file is still the one that is open, and logs when that changes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from peewee import DatabaseError

from programs.database.guarded import GuardedDatabase

POLL_S = 1.0
JOIN_S = 5.0
log = structlog.get_logger()


@contextmanager
def watched(database: GuardedDatabase, advice: str, poll_s: float = POLL_S) -> Iterator[None]:
    """Watch the file during the block. ``advice``: what to do about a loss, for the log."""
    connected, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=_watch, args=(database, advice, poll_s, connected, over), name="database watch", daemon=True)
    thread.start()
    connected.wait(JOIN_S)  # a connection older than any loss can save the log
    try:
        yield
    finally:
        over.set()
        thread.join(JOIN_S)


def _watch(database: GuardedDatabase, advice: str, poll_s: float, connected: threading.Event, over: threading.Event) -> None:
    known = ""
    with suppress(DatabaseError):  # then it has failed already
        database.connect(reuse_if_open=True)
    connected.set()
    while not over.wait(poll_s):
        failure = database.failure()
        if failure and not known:
            log.error("the database is lost: nothing more is written, new work is refused", detail=failure, advice=advice)
            _save(database)
            database.leave_as_it_is()
        elif known and not failure:
            log.warning("the database is in its place again")
        known = failure
    database.close()


def _save(database: GuardedDatabase) -> None:
    """Save what only the removed log had to the main file, so that the next start finds it."""
    try:
        if database.save_log():
            log.warning("the contents of the removed log are in the main file now; the next start continues from there")
    except DatabaseError as problem:
        log.error("the contents of the removed log could not be saved", detail=str(problem))  # noqa: TRY400  # the reason is expected
