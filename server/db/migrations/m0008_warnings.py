"""What a job that is done warns of, a line each, and the figures that its app says it found (JSON)."""

STATEMENTS = (
    "ALTER TABLE job ADD COLUMN warning TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE job ADD COLUMN figures TEXT NOT NULL DEFAULT ''",
)
