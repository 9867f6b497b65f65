"""The first schema: jobs, their machines, and what happened to both."""

STATEMENTS = (
    # AUTOINCREMENT: a job's number is in folder names and in people's mails, so it is never given twice.
    """
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        app TEXT NOT NULL,
        flavor TEXT NOT NULL,
        weight INTEGER NOT NULL,
        description TEXT NOT NULL,
        settings TEXT NOT NULL,
        inputs TEXT NOT NULL,
        workflow TEXT NOT NULL,
        start_after INTEGER,
        folder TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        state_since REAL NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL,
        message TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        not_before REAL NOT NULL,
        created REAL NOT NULL,
        started REAL,
        ended REAL
    )
    """,
    # The loop asks for unfinished jobs at every turn; finished ones pile up for years.
    """
    CREATE INDEX job_unfinished ON job (id) WHERE state NOT IN ('done', 'failed', 'cancelled', 'archived')
    """,
    "CREATE INDEX job_owner ON job (owner, id)",
    "CREATE INDEX job_app ON job (app)",
    "CREATE INDEX job_created ON job (created)",
    """
    CREATE TABLE worker (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        job_id INTEGER REFERENCES job (id) ON DELETE SET NULL,
        flavor TEXT NOT NULL,
        weight INTEGER NOT NULL,
        state TEXT NOT NULL,
        state_since REAL NOT NULL,
        address TEXT NOT NULL,
        port INTEGER NOT NULL,
        boot TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        not_before REAL NOT NULL,
        message TEXT NOT NULL,
        created REAL NOT NULL,
        ended REAL
    )
    """,
    "CREATE INDEX worker_living ON worker (id) WHERE state <> 'deleted'",
    "CREATE INDEX worker_job ON worker (job_id)",
    """
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        subject TEXT NOT NULL,
        subject_id INTEGER NOT NULL,
        who TEXT NOT NULL,
        old TEXT NOT NULL,
        new TEXT NOT NULL,
        reason TEXT NOT NULL,
        text TEXT NOT NULL
    )
    """,
    "CREATE INDEX event_subject ON event (subject, subject_id, id)",
)
