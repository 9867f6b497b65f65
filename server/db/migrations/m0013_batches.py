"""Batches of jobs, presets of forms, and what usage is counted from: how much of the storage an ended job keeps, indexes."""

STATEMENTS = (
    # AUTOINCREMENT: a batch's number is in manifests and in people's mails, so it is never given twice.
    """
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        app TEXT NOT NULL,
        name TEXT NOT NULL,
        request_key TEXT NOT NULL,
        request_digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        created REAL NOT NULL
    )
    """,
    "CREATE INDEX batch_owner ON batch (owner, id)",
    "CREATE UNIQUE INDEX batch_request ON batch (owner, request_key) WHERE request_key <> ''",
    "ALTER TABLE job ADD COLUMN batch_id INTEGER",
    "ALTER TABLE job ADD COLUMN batch_position INTEGER",
    "ALTER TABLE job ADD COLUMN batch_label TEXT NOT NULL DEFAULT ''",
    # The job that was submitted in its place when the failed jobs of its batch were tried again.
    "ALTER TABLE job ADD COLUMN replaced_by INTEGER",
    # Bytes; NULL: nobody has measured them.
    "ALTER TABLE job ADD COLUMN kept_bytes INTEGER",
    """
    CREATE INDEX job_batch ON job (batch_id, replaced_by, state, outcome, batch_position) WHERE batch_id IS NOT NULL
    """,
    """
    CREATE INDEX job_unmeasured ON job (id) WHERE kept_bytes IS NULL AND state IN ('done', 'failed', 'cancelled')
    """,
    # All that usage reads of jobs and machines, without the rows with their long settings.
    "CREATE INDEX job_usage ON job (created, owner, app, state, state_since, started, ended, kept_bytes)",
    "CREATE INDEX worker_usage ON worker (created, ended, weight, job_id)",
    """
    CREATE TABLE preset (
        id INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        team TEXT NOT NULL,
        name TEXT NOT NULL,
        app TEXT NOT NULL,
        app_name TEXT NOT NULL,
        flavor TEXT NOT NULL,
        description TEXT NOT NULL,
        form TEXT NOT NULL,
        changed REAL NOT NULL,
        changed_by TEXT NOT NULL,
        UNIQUE (owner, team, name)
    )
    """,
)
