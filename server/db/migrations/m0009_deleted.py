"""Deleted jobs have a state of their own, and which jobs' manifests are behind their rows is known (``unwritten``).

Of a deleted job only what retention and numbering need is kept. Triggers, so that no change of a row can forget its manifest.
"""

_AGAIN = "ON CONFLICT (job_id) DO UPDATE SET changes = changes + 1;"
_OF_A_WORKER = f"INSERT INTO unwritten SELECT {{0}}.job_id, 1 WHERE {{0}}.job_id IS NOT NULL {_AGAIN}"
_OF_ITS_EVENT = "INSERT INTO unwritten SELECT job_id, 1 FROM worker WHERE id = new.subject_id AND job_id IS NOT NULL "


def _on(name: str, when: str, then: str) -> str:
    return f"CREATE TRIGGER unwritten_{name} AFTER {when} BEGIN {then} END"


def _mark(number: str) -> str:
    return f"INSERT INTO unwritten VALUES ({number}, 1) {_AGAIN}"  # noqa: S608  # of this module's own words


STATEMENTS = (
    """
    UPDATE job SET state = 'deleted', settings = '{}', description = '', message = '', warning = '', figures = ''
    WHERE state = 'archived' AND id IN (
        SELECT subject_id FROM event WHERE subject = 'job' AND new = 'archived' AND text = 'deleted by its owner'
    )
    """,
    "DROP INDEX job_unfinished",
    """
    CREATE INDEX job_unfinished ON job (id) WHERE state NOT IN ('done', 'failed', 'cancelled', 'archived', 'deleted')
    """,
    # changes: counted, so that what happens while a manifest is written is not lost.
    "CREATE TABLE unwritten (job_id INTEGER PRIMARY KEY, changes INTEGER NOT NULL)",
    "INSERT INTO unwritten SELECT id, 1 FROM job",
    _on("job_insert", "INSERT ON job", _mark("new.id")),
    _on("job_update", "UPDATE ON job", _mark("new.id")),
    _on("worker_insert", "INSERT ON worker", _OF_A_WORKER.format("new")),
    _on("worker_update", "UPDATE ON worker", _OF_A_WORKER.format("new")),
    _on("worker_leave", "UPDATE OF job_id ON worker WHEN old.job_id IS NOT new.job_id", _OF_A_WORKER.format("old")),
    _on("event_of_job", "INSERT ON event WHEN new.subject = 'job'", _mark("new.subject_id")),
    _on("event_of_worker", "INSERT ON event WHEN new.subject = 'worker'", _OF_ITS_EVENT + _AGAIN),
    _on("conversion_insert", "INSERT ON conversion", _mark("new.job_id")),
    _on("conversion_delete", "DELETE ON conversion", _mark("old.job_id")),
)
