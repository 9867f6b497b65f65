"""The questions about batches. A job that was replaced by another try counts no more; a batch without living jobs is none."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from server.db.cached_sql import rows
from server.db.models import Batch, Job

_LIVING = "EXISTS (SELECT 1 FROM job WHERE batch_id = batch.id AND replaced_by IS NULL AND state <> 'deleted')"
_COUNTED = """
    SELECT batch_id, state, outcome, count(*) FROM job
    WHERE batch_id IN ({marks}) AND replaced_by IS NULL AND state <> 'deleted' GROUP BY 1, 2, 3
"""
# What went wrong first, then what is still to come, then what is done.
_RANK = """
    CASE WHEN state = 'failed' OR (state = 'archived' AND outcome = 'failed') THEN 0 WHEN state = 'lost' THEN 1
    WHEN state = 'cancelled' OR (state = 'archived' AND outcome = 'cancelled') THEN 2
    WHEN state = 'done' OR state = 'archived' THEN 4 ELSE 3 END
"""
_MATRIX = f"""
    SELECT id, batch_position, batch_label, state, outcome, attempt, reason, message, warning, figures, inputs, started, ended
    FROM job WHERE batch_id = ? AND replaced_by IS NULL AND state <> 'deleted' {{wanted}}
    ORDER BY {_RANK}, batch_position LIMIT ? OFFSET ?
"""  # noqa: S608  # of this module's own words
_REPLACED = "SELECT batch_position, count(*) FROM job WHERE batch_id = ? AND replaced_by IS NOT NULL GROUP BY 1"


class BatchRow(NamedTuple):
    """A batch's row, as far as it is shown."""

    id: int
    owner: str
    app: str
    name: str
    size: int
    created: float


class MatrixRow(NamedTuple):
    """A job of a batch without its settings."""

    id: int
    batch_position: int
    batch_label: str
    state: str
    outcome: str
    attempt: int
    reason: str
    message: str
    warning: str
    figures: str
    inputs: str
    started: float | None
    ended: float | None


def batches_of(owners: Collection[str] | None, before: int, limit: int) -> list[BatchRow]:
    """The newest batches of these owners (None: of all), with numbers below ``before`` unless that is 0."""
    conditions, values = [_LIVING], list[object]()
    if owners is not None:
        conditions.append(f"owner IN ({_marks(owners)})")
        values += sorted(owners)
    if before:
        conditions.append("id < ?")
        values.append(before)
    return _batches(" AND ".join(conditions) + " ORDER BY id DESC LIMIT ?", *values, limit)


def batch_row(number: int) -> BatchRow | None:
    """One batch; None where there is none any more."""
    return next(iter(_batches(f"id = ? AND {_LIVING}", number)), None)


def batch_of_request(owner: str, key: str) -> Batch | None:
    """The batch that was made by a request with that key; None for none."""
    found = rows(Batch, "owner = ? AND request_key = ? AND request_key <> ''", owner, key)
    return found[0] if found else None


def state_counts(numbers: Sequence[int]) -> dict[int, list[tuple[str, str, int]]]:
    """How many jobs of each of these batches are in which state and have which outcome, in one query."""
    found: dict[int, list[tuple[str, str, int]]] = {number: [] for number in numbers}
    if numbers:
        for number, state, outcome, count in _run(_COUNTED.format(marks=_marks(numbers)), numbers):
            found[number].append((state, outcome, count))
    return found


def jobs_in(number: int, states: Collection[str], start: int, limit: int) -> list[MatrixRow]:
    """The jobs of a batch, failures first. ``states``: only those in one of these; an archived job by how it ended."""
    outcome = "CASE state WHEN 'archived' THEN outcome ELSE state END"
    wanted = f"AND {outcome} IN ({_marks(states)})" if states else ""
    return list(map(MatrixRow._make, _run(_MATRIX.format(wanted=wanted), (number, *states, limit, start))))


def replaced_counts(number: int) -> dict[int, int]:
    """How many jobs of a batch were replaced by another try, by their positions."""
    return dict(_run(_REPLACED, (number,)))


def living_jobs(number: int, condition: str = "1") -> list[Job]:
    """The jobs of a batch by their positions, without their settings; ``condition``: literal."""
    whole = f"batch_id = ? AND replaced_by IS NULL AND state <> 'deleted' AND {condition} ORDER BY batch_position"
    return rows(Job, whole, number, without="settings")


def all_jobs(number: int) -> list[Job]:
    """The same with those that were replaced, too."""
    return rows(Job, "batch_id = ? AND state <> 'deleted' ORDER BY id", number, without="settings")


def replace_jobs(pairs: Iterable[tuple[int, int]]) -> bool:
    """Note for each failed job (the first of a pair) which one is tried in its place; False where one is not failed any more, or
    was replaced by another. For a transaction of the caller's.
    """
    text = "UPDATE job SET replaced_by = ? WHERE id = ? AND replaced_by IS NULL AND state = 'failed'"
    return all(Job._meta.database.execute_sql(text, (new, old)).rowcount for old, new in pairs)


def _batches(condition: str, *values: object) -> list[BatchRow]:
    text = f"SELECT {', '.join(BatchRow._fields)} FROM batch WHERE {condition}"  # noqa: S608  # of this module's own words
    return list(map(BatchRow._make, _run(text, values)))


def _run(text: str, values: Sequence[object]) -> Iterable[tuple[Any, ...]]:
    found: Iterable[tuple[Any, ...]] = Job._meta.database.execute_sql(text, tuple(values))
    return found


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" for _ in values)
