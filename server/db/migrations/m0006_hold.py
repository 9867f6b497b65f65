"""Until when a machine is held for inspection should its job fail (Unix seconds; 0: it is not)."""

STATEMENTS = ("ALTER TABLE worker ADD COLUMN held_until REAL NOT NULL DEFAULT 0",)
