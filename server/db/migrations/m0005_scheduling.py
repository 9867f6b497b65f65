"""The priority of a job, and the switches of an installation (drained, circuit breaker)."""

STATEMENTS = (
    "ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE switch (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL, who TEXT NOT NULL)",
)
