"""Which of the waiting jobs a turn looks at, with the real kernel's word for what appears in their folders."""

from server.app import Controller
from server.db.job_numbers import JobNumbers
from server.engine.monitoring.awaited_files import AwaitedFiles
from server.storage.file_watcher import FileWatcher
from server.storage.job_folder.names import ARRIVED
from tests.conftest import eventually, submission

LATER_S = 10.0


def test_a_job_that_lacks_its_files_is_left_alone_until_something_appears_or_the_pause_is_over(controller: Controller) -> None:
    watcher = FileWatcher(controller.storage.jobs, (ARRIVED,), lambda: None)
    awaited = AwaitedFiles(controller.settings, controller.storage, watcher)

    def due(now: float | None) -> list[int]:
        found = awaited.due([], now)
        for job in found:
            awaited.looked_at(job)
        return [job.id for job in found]

    assert awaited.is_empty
    one, two = controller.jobs.submit(*submission()), controller.jobs.submit(*submission())
    assert due(LATER_S) == [one.id, two.id]
    assert not awaited.is_empty
    assert due(LATER_S) == []
    three = controller.jobs.submit(*submission())
    assert due(LATER_S) == [three.id]
    controller.storage.folder(two.folder).mark_arrived()
    eventually(lambda: due(LATER_S) == [two.id])
    assert due(LATER_S) == [two.id], "it waits for nothing any more, and is looked at until it is queued"
    assert due(None) == [one.id, two.id, three.id]
    assert due(LATER_S + awaited.pause_s) == [one.id, two.id, three.id]
    watcher.close()


def test_a_job_that_waits_for_another_is_looked_at_each_time(controller: Controller) -> None:
    watcher = FileWatcher(controller.storage.jobs, (ARRIVED,), lambda: None)
    awaited = AwaitedFiles(controller.settings, controller.storage, watcher)
    one = controller.jobs.submit(*submission())
    two = controller.jobs.submit(*submission(start_after=str(one.id)))
    for job in awaited.due([], LATER_S):
        awaited.looked_at(job)
    assert [job.id for job in awaited.due([], LATER_S)] == [two.id]
    watcher.close()


def test_a_number_is_given_again_only_where_no_later_one_was(controller: Controller) -> None:
    controller.jobs.submit(*submission())
    numbers = JobNumbers()
    assert (numbers.take(), numbers.take()) == (2, 3)
    numbers.give_back(2)
    assert numbers.take() == 4
    numbers.give_back(4)
    assert numbers.reserve(3) == 4
    assert numbers.take() == 7
    assert JobNumbers().take() == 7, "only reserved numbers are in the database"
