"""The jobs that start after one are asked for by its number: at each cancellation of a workflow."""

STATEMENTS = ("CREATE INDEX job_start_after ON job (start_after) WHERE start_after IS NOT NULL",)
