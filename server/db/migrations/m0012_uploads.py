"""Uploads by HTTP, and what each job's folder takes, so that a quota is a sum of rows."""

STATEMENTS = (
    # received: bytes that are on the disk; sha256: as the client has said, digest: as it was found; place: where the file is.
    """
    CREATE TABLE upload (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        job_id INTEGER,
        shared INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        length INTEGER NOT NULL,
        received INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        digest TEXT NOT NULL,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        ended REAL,
        place TEXT NOT NULL,
        modified_ns INTEGER NOT NULL,
        message TEXT NOT NULL
    )
    """,
    "CREATE INDEX upload_owner ON upload (owner, state, length)",
    "CREATE INDEX upload_job ON upload (job_id) WHERE job_id IS NOT NULL",
    "CREATE INDEX upload_state ON upload (state, expires)",
    """
    CREATE TABLE job_bytes (
        job_id INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        at REAL NOT NULL
    )
    """,
    "CREATE INDEX job_bytes_owner ON job_bytes (owner, bytes)",
)
