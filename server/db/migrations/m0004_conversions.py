"""Which shared inputs a job needs converted: what two jobs have in common is found by its key, at every admission."""

STATEMENTS = (
    """
    CREATE TABLE conversion (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        UNIQUE (job_id, number)
    )
    """,
    "CREATE INDEX conversion_key ON conversion (key)",
)
