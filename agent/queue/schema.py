"""The steps that made the queue's schema what it is."""

# Steps of the schema; a released step never changes. `PRAGMA user_version` counts the steps that a file has seen.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE job (
            id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, folder TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
            state TEXT NOT NULL, state_since REAL NOT NULL, created REAL NOT NULL, not_before REAL NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '')""",
        """CREATE TABLE transfer (
            id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, source TEXT NOT NULL, place TEXT NOT NULL,
            name TEXT NOT NULL, state TEXT NOT NULL, state_since REAL NOT NULL, created REAL NOT NULL,
            not_before REAL NOT NULL DEFAULT 0, began REAL, ended REAL, failures INTEGER NOT NULL DEFAULT 0,
            failing_since REAL, bytes INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0,
            is_folder INTEGER NOT NULL DEFAULT 0, alone INTEGER NOT NULL DEFAULT 0, is_put INTEGER NOT NULL DEFAULT 0,
            fingerprint TEXT NOT NULL DEFAULT '', still_since REAL NOT NULL DEFAULT 0,
            contents TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '')""",
        """CREATE TABLE want (
            id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
            transfer_id INTEGER NOT NULL REFERENCES transfer (id) ON DELETE CASCADE, UNIQUE (job_id, transfer_id))""",
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, subject TEXT NOT NULL, subject_id INTEGER NOT NULL,
            old TEXT NOT NULL, new TEXT NOT NULL, text TEXT NOT NULL DEFAULT '')""",
        "CREATE INDEX want_transfer ON want (transfer_id)",
        "CREATE INDEX job_number ON job (number)",
        "CREATE INDEX job_state ON job (state)",
        "CREATE INDEX transfer_state ON transfer (state)",
        "CREATE INDEX transfer_target ON transfer (place, name)",
        "CREATE INDEX transfer_owner ON transfer (owner, began)",
        "CREATE INDEX event_subject ON event (subject, subject_id)",
    ),
    (
        "ALTER TABLE transfer DROP COLUMN is_put",
        "ALTER TABLE transfer ADD COLUMN upload TEXT NOT NULL DEFAULT ''",
        "UPDATE transfer SET upload = '.upload.' || lower(hex(randomblob(8))) || '.' || lower(hex(randomblob(3)))",
        "ALTER TABLE transfer ADD COLUMN skipped TEXT NOT NULL DEFAULT '[]'",
    ),
)
