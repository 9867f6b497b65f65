"""Which job a submission's key has made, so that a client that had no answer may send the same again."""

STATEMENTS = (
    """
    CREATE TABLE submission_key (
        principal TEXT NOT NULL,
        key TEXT NOT NULL,
        at REAL NOT NULL,
        digest TEXT NOT NULL,
        job_id INTEGER NOT NULL,
        PRIMARY KEY (principal, key)
    )
    """,
    "CREATE INDEX submission_key_at ON submission_key (at)",
)
