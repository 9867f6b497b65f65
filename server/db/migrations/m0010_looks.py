"""What a cleaning has seen and not removed yet, or removed and keeps for a while: counted in time that really passed."""

STATEMENTS = (
    """
    CREATE TABLE look (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        at REAL NOT NULL,
        elapsed REAL NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    )
    """,
)
