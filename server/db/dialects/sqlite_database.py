"""SQLite as the controller uses it: the writers of one process take turns, and its file is guarded."""

import threading
from typing import Any

from peewee import OperationalError

from programs.database.guarded import GuardedDatabase
from server.db.dialects.sqlite import AT_ONCE, EXCLUSIVE


class Database(GuardedDatabase):
    """Who begins a transaction that writes waits for the others of this process by a lock, and is woken when it is free.

    SQLite by itself sleeps and tries again, up to a tenth of a second each time, so that a thread would wait far longer than
    the other one writes. Against other processes that is all there is.
    """

    def __init__(self, path: str, pragmas: dict[str, object], timeout_s: float, *, mode: str = "rwc", options: str = "") -> None:
        """As :class:`GuardedDatabase`."""
        super().__init__(path, pragmas, timeout_s, mode=mode, options=options)
        self._turn = threading.Lock()
        self._writer: int | None = None

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction. Raises OperationalError where others write for too long."""
        if lock_type not in (EXCLUSIVE, AT_ONCE):
            return super().begin(lock_type)
        if not self._turn.acquire(timeout=0 if lock_type == AT_ONCE else self.timeout):
            raise OperationalError("database is locked")
        self._writer = threading.get_ident()
        try:
            if lock_type == AT_ONCE:
                self._begin_at_once()
            else:
                super().begin(lock_type)
        except BaseException:
            self._pass_on()
            raise

    def _begin_at_once(self) -> None:
        waits_ms = self.connection().execute("PRAGMA busy_timeout").fetchone()[0]  # type: ignore[no-untyped-call]
        self.connection().execute("PRAGMA busy_timeout = 0")  # type: ignore[no-untyped-call]
        try:
            super().begin(EXCLUSIVE)
        finally:
            self.connection().execute(f"PRAGMA busy_timeout = {int(waits_ms)}")  # type: ignore[no-untyped-call]

    def commit(self) -> Any:
        """End the transaction; where that fails it is rolled back next, and lasts until then."""
        super().commit()
        self._pass_on()

    def rollback(self) -> Any:
        """Undo the transaction. Where the disk is full SQLite has done it itself, and what it said is what counts."""
        try:
            if self.connection().in_transaction:  # type: ignore[no-untyped-call]
                super().rollback()
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._writer == threading.get_ident():
            self._writer = None
            self._turn.release()
