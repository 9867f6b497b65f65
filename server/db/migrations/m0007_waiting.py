"""How many attempts of a job a trouble of the site ended, which cost it none."""

STATEMENTS = ("ALTER TABLE job ADD COLUMN spared INTEGER NOT NULL DEFAULT 0",)
