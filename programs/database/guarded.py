"""An SQLite database that refuses all work as soon as its file is no longer the one that was opened; for both programs."""

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

from peewee import SqliteDatabase

from programs.database.file import DatabaseFile, mark_of, marked
from programs.database.sqlite import IN_USE, Lost

_READING = ("SELECT", "PRAGMA", "WITH")


class _Connection(sqlite3.Connection):
    """A connection that can be counted."""


class GuardedDatabase(SqliteDatabase):
    """Makes a file only with mode `rwc`, at the first connection. Once it is guarded, each statement is refused with ``Lost``
    while the file is not the one that was opened; what is written looks anew, before and at the end of its transaction.
    """

    def __init__(self, path: str, pragmas: dict[str, object], timeout_s: float, *, mode: str = "rwc", options: str = "") -> None:
        """``mode``: of SQLite's file names: ``rwc`` makes a file that is not there, ``rw`` does not, ``ro`` only reads.

        ``options``: what follows it there.
        """
        super().__init__(path, pragmas=pragmas, timeout=timeout_s)
        self._mode = mode
        self._options = options
        self._file: DatabaseFile | None = None
        self._own_mark = 0
        self._connections: WeakSet[_Connection] = WeakSet()
        self._connecting = threading.RLock()

    def guard(self) -> int:
        """From now on, require that the file is the one that is open; returns the number that identifies this database."""
        with self._connecting:
            self._own_mark = marked(self._ask)
            self._watch_file()
            return self._own_mark

    def _ask(self, statement: str) -> Any:
        """The first value that a statement returns, without the guard; None if it returns none."""
        row = self.connection().execute(statement).fetchone()  # type: ignore[no-untyped-call]
        return row[0] if row else None

    @property
    def is_guarded(self) -> bool:
        """Whether a controller has this database open as its own."""
        return bool(self._own_mark)

    def failure(self) -> str:
        """What happened to the file; "" where all is well, or it is not guarded."""
        file = self._file
        return file.failure() if file else ""

    def require_file(self, *, fresh: bool = True) -> None:
        """Raises Lost where the file is not the one that is open."""
        if file := self._file:
            file.require(fresh=fresh)

    def save_log(self) -> bool:
        """Where only the log has gone, write what this thread still has of it into the main file; whether that is done.

        The connection must be older than the loss: a new one would begin a new log.
        """
        file = self._file
        if file is None or self.is_closed() or not file.only_its_log_is_gone():
            return False
        busy, frames, written = self.connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # type: ignore[no-untyped-call]
        return not busy and frames == written

    def leave_as_it_is(self) -> None:
        """Closing this database writes nothing to the file that has taken its place."""
        if file := self._file:
            file.leave_as_it_is()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Run a statement. Raises Lost."""
        if file := self._file:
            file.require(fresh=not sql.lstrip()[:6].upper().startswith(_READING))
        return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction. Raises Lost."""
        self.require_file()
        super().begin(lock_type)

    def commit(self) -> Any:
        """End the transaction; refuses to write to a file that no other process sees. Raises Lost."""
        self.require_file()
        return super().commit()

    def _connect(self) -> sqlite3.Connection:
        with self._connecting:
            self.require_file()
            uri = f"file:{quote(str(Path(str(self.database)).absolute()))}?mode={self._mode}{self._options}"
            made = sqlite3.connect(
                uri, timeout=self.timeout, isolation_level=None, uri=True, factory=_Connection, **self.connect_params
            )
            try:
                self._add_conn_hooks(made)  # type: ignore[attr-defined]  # peewee's own
                self._require_same(made)
            except BaseException:
                made.close()
                raise
            self._connections.add(made)
            if self._mode == "rwc":
                self._mode = "rw"
            return made

    def _require_same(self, made: sqlite3.Connection) -> None:
        """The database that was connected to is the guarded one, also after all connections had been closed."""
        if not self._own_mark:
            return
        if self._file is None:
            if mark_of(made.execute("PRAGMA application_id").fetchone()[0]) != self._own_mark:
                raise Lost(f"{self.database} was replaced by another database {IN_USE}")
            self._watch_file()
        self.require_file()

    def _watch_file(self) -> None:
        self._file = DatabaseFile(Path(str(self.database)), self._own_mark)

    def _close(self, conn: Any) -> None:
        super()._close(conn)  # type: ignore[misc]  # peewee's own
        with self._connecting:
            self._connections.discard(conn)
            if not self._connections and (file := self._file):  # SQLite removes its log with the last one
                self._file = None
                with suppress(OSError):
                    file.close()
