"""What takes long on a large installation counts: a rebuild its folders and jobs, a cleaning its entries."""

from server.app import Controller, rebuild_database
from server.db.models import Job
from server.engine.duties.retention import DAY_S, Retention
from server.progress import Lines
from server.states import JobState
from tests.conftest import submission


def test_a_rebuild_counts_folders_and_jobs(controller: Controller) -> None:
    for _ in range(3):
        controller.jobs.submit(*submission())
    (controller.storage.jobs / "notes").mkdir()
    controller.database.close()
    told: list[str] = []
    rebuild_database(controller.settings, 1_900_000_000.0, Lines(told.append, lambda: 0.0))
    assert [line for line in told if "…" not in line] == [
        "Reading the job folders: 0 s (4 folders)",
        "Looking for machines: 0 s",
        "Writing the database: 0 s (3 jobs)",
    ]


def test_a_cleaning_counts_what_it_looks_at_and_what_it_removes(controller: Controller) -> None:
    for _ in range(2):
        controller.jobs.submit(*submission())
    Job.update(state=JobState.FAILED, ended=1.0).execute()
    rules, looked, removed = Retention(controller.storage, 1), list[float](), list[tuple[float, float | None]]()
    plan = rules.plan(10 * DAY_S, lambda done, _: looked.append(done))
    gone = rules.remove(plan.removals, 10 * DAY_S, lambda done, total: removed.append((done, total)))
    assert (len(gone), looked, removed) == (2, [1, 2], [(1, 2), (2, 2)])
