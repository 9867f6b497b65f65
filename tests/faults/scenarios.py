"""Lives of jobs that between them take every way of both state machines. A controller may be killed at any point of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from server.db.models import Job
from server.states import JobState, WorkerState
from tests.faults.lab import Lab, wait
from tests.faults.points import Change

LONG_S, YEAR_S = 60.0, 365 * 24 * 3600


@dataclass(frozen=True)
class Scenario:
    """``covers``: the changes that it is there for. ``given``: settings; ``limit``: the weight limit.

    ``dies_at``: where the first controller dies as a part of it.
    """

    play: Callable[[Lab], None]
    covers: tuple[Change, ...]
    given: dict[str, Any] = field(default_factory=dict)
    limit: int = 8
    dies_at: tuple[str, ...] = ()


def job(*words: JobState | str) -> tuple[Change, ...]:
    """The changes of a job along a way of states."""
    return tuple(Change("job", old, new) for old, new in pairwise(words))


def worker(*words: WorkerState | str) -> tuple[Change, ...]:
    """The changes of a worker along a way of states."""
    return tuple(Change("worker", old, new) for old, new in pairwise(words))


J, W = JobState, WorkerState


def done(lab: Lab) -> None:
    """With a shared file, which is replaced by another one when the job has taken it."""
    shared = lab.storage.data / "shared.dat"
    shared.write_text("chosen")
    lab.submit("one", inputs=["/home/ada/shared.dat"])
    lab.reach("one", *(state for state in J if state != J.UPLOADING))
    (shared.parent / "new").write_text("another")
    (shared.parent / "new").rename(shared)
    assert lab.reach("one") == J.DONE
    row = lab.job_of("one")
    assert row is not None
    assert (lab.storage.folder(row.folder).input / "shared.dat").read_text() == "chosen"


def deleted(lab: Lab) -> None:
    _deleted(lab, J.DONE)


def failed_and_deleted(lab: Lab) -> None:
    _deleted(lab, J.FAILED, code=3)


def cancelled_and_deleted(lab: Lab) -> None:
    number = lab.submit("one", arrives=False)
    lab.cancel("one")
    _delete(lab, number)


def _deleted(lab: Lab, end: JobState, **how: Any) -> None:
    number = lab.submit("one", **how)
    assert lab.reach("one") == end
    lab.settle()
    _delete(lab, number)


def _delete(lab: Lab, number: int) -> None:
    while lab.state_of("one") != J.DELETED:
        lab.request("GET", f"/delete/ada/{number}")


def restored(lab: Lab) -> None:
    _restored(lab, J.DONE)


def failed_and_restored(lab: Lab) -> None:
    _restored(lab, J.FAILED, code=3)


def cancelled_and_restored(lab: Lab) -> None:
    lab.submit("one", arrives=False)
    lab.cancel("one")
    _archived_and_restored(lab, J.CANCELLED)


def archived_and_deleted(lab: Lab) -> None:
    number = lab.submit("one")
    assert lab.reach("one") == J.DONE
    _archived(lab)
    _delete(lab, number)


def _restored(lab: Lab, end: JobState, **how: Any) -> None:
    lab.submit("one", **how)
    assert lab.reach("one") == end
    _archived_and_restored(lab, end)


def _archived(lab: Lab) -> None:
    """An administrator removes what is old. Who is killed meanwhile is asked again."""
    lab.settle()
    with lab.rows():
        Job.update(ended=Job.ended - YEAR_S).execute()
    while lab.state_of("one") != J.ARCHIVED or not lab.cumulus("storage", "trash").stdout:
        lab.command("storage", "clean", "--yes")


def _archived_and_restored(lab: Lab, end: JobState) -> None:
    """And wants it back."""
    _archived(lab)
    while lab.state_of("one") != end:
        lab.command("storage", "restore", "1")


def input_missing(lab: Lab) -> None:
    lab.submit("one", inputs=["/home/ada/absent.dat"])
    assert lab.reach("one") == J.FAILED


def cancelled_in_the_queue(lab: Lab) -> None:
    lab.submit("first", seconds=4)
    lab.reach("first", J.STARTING, J.RUNNING)
    lab.submit("one")
    assert lab.reach("one", J.QUEUED) == J.QUEUED
    lab.cancel("one")


def failed_in_the_queue(lab: Lab) -> None:
    """The agent cannot send a file of the second step; the whole workflow fails."""
    lab.submit("first", seconds=4)
    lab.reach("first", J.STARTING, J.RUNNING)
    _with_a_second_step_that_fails(lab, J.QUEUED)


def failed_at_work(lab: Lab) -> None:
    _with_a_second_step_that_fails(lab, J.RUNNING, seconds=LONG_S)


def _with_a_second_step_that_fails(lab: Lab, state: JobState, **how: Any) -> None:
    one = lab.submit("one", workflow="w", **how)
    two = lab.submit("two", arrives=False, after=one, workflow="w")
    assert lab.reach("one", state) == state
    while not J(lab.state_of("one")).is_final:
        lab.request("POST", "/fail", job_id=str(two), error_message="no such file")
    assert (lab.state_of("one"), lab.state_of("two")) == (J.FAILED, J.FAILED)


def cancelled_while_the_machine_is_made(lab: Lab) -> None:
    lab.plan("terraform", "hang apply")
    _cancelled_in(lab, J.PROVISIONING)


def cancelled_while_the_app_is_started(lab: Lab) -> None:
    lab.plan("ansible-playbook", "hang start")
    _cancelled_in(lab, J.STARTING)


def cancelled_at_work(lab: Lab) -> None:
    _cancelled_in(lab, J.RUNNING)


def cancelled_while_lost(lab: Lab) -> None:
    _cancelled_in(lab, J.LOST)


def _cancelled_in(lab: Lab, state: JobState) -> None:
    lab.submit("one", seconds=LONG_S)
    lab.reach("one", state)
    lab.cancel("one")


def lost_and_heard_of_again(lab: Lab) -> None:
    """Heartbeats come after a second and then every fifteen, and are late here after two: it is lost once more before its end."""
    lab.submit("one", seconds=20.5)
    assert lab.reach("one") == J.DONE


def machine_vanishes(lab: Lab) -> None:
    lab.submit("one", seconds=3)
    lab.reach("one", J.RUNNING)
    lab.crash_machine("one")
    assert lab.reach("one") == J.DONE


def last_machine_vanishes(lab: Lab) -> None:
    lab.submit("one", seconds=LONG_S)
    lab.reach("one", J.RUNNING)
    lab.crash_machine("one")
    assert lab.reach("one") == J.FAILED


def terraform_fails(lab: Lab) -> None:
    lab.plan("terraform", "fail apply")
    done(lab)


def terraform_fails_for_good(lab: Lab) -> None:
    lab.plan("terraform", *["fail apply"] * 4)
    lab.submit("one")
    assert lab.reach("one") == J.FAILED


def play_fails(lab: Lab) -> None:
    lab.plan("ansible-playbook", "fail start")
    done(lab)


def play_fails_for_good(lab: Lab) -> None:
    lab.plan("ansible-playbook", *["fail start"] * 4)
    lab.submit("one")
    assert lab.reach("one") == J.FAILED


def failing_app_is_held(lab: Lab) -> None:
    lab.submit("one", code=3)
    assert lab.reach("one") == J.FAILED


def result_vanishes(lab: Lab) -> None:
    """The controller dies when it has seen the result; the next one finds none."""
    _without_result(lab)
    assert lab.reach("one") == J.FAILED


def result_vanishes_and_the_job_is_cancelled(lab: Lab) -> None:
    _without_result(lab)
    lab.cancel("one")


def _without_result(lab: Lab) -> None:
    lab.submit("one", seconds=0.5)
    wait(lambda: lab.has_died, 60, lab.log)
    row = lab.job_of("one")
    assert row is not None
    (lab.storage.folder(row.folder).path / ".cumulus.result").unlink(missing_ok=True)


def flavor_goes(lab: Lab) -> None:
    """The controller dies when it has promised a machine; the next one knows that size no more."""
    lab.submit("one", flavor="middle")
    wait(lambda: lab.has_died, 60, lab.log)
    flavors = lab.root / "flavors.tsv"
    flavors.write_text(flavors.read_text().replace("middle", "other"))
    assert lab.reach("one") == J.FAILED


def cancelled_before_the_app_counts_as_started(lab: Lab) -> None:
    _begun_and_not_started(lab)
    lab.reach("one", J.STARTING)
    lab.cancel("one")


def play_fails_before_the_app_counts_as_started(lab: Lab) -> None:
    _begun_and_not_started(lab)
    lab.reach("one")


def _begun_and_not_started(lab: Lab) -> None:
    """The start play lies, the controller dies when the worker is ready, and the next one's start play hangs."""
    lab.plan("ansible-playbook", "success-without-doing start", "hang start")
    lab.submit("one", seconds=1)
    wait(lambda: lab.has_died, 60, lab.log)


AT_THE_RESULT = ("job:running>finishing:after",)
WHEN_READY = ("worker:booting>ready:after",)
SCENARIOS = {
    scenario.play.__name__: scenario
    for scenario in (
        Scenario(
            done,
            job("", J.UPLOADING, J.QUEUED, J.PROVISIONING, J.STARTING, J.RUNNING, J.FINISHING, J.DONE)
            + worker("", W.REQUESTED, W.CREATING, W.BOOTING, W.READY, W.BUSY, W.DELETING, W.DELETED),
        ),
        Scenario(deleted, job(J.DONE, J.DELETED)),
        Scenario(failed_and_deleted, job(J.FINISHING, J.FAILED, J.DELETED)),
        Scenario(cancelled_and_deleted, job(J.UPLOADING, J.CANCELLED, J.DELETED)),
        Scenario(archived_and_deleted, job(J.ARCHIVED, J.DELETED)),
        Scenario(restored, job(J.DONE, J.ARCHIVED, J.DONE)),
        Scenario(failed_and_restored, job(J.FAILED, J.ARCHIVED, J.FAILED)),
        Scenario(cancelled_and_restored, job(J.CANCELLED, J.ARCHIVED, J.CANCELLED)),
        Scenario(input_missing, job(J.UPLOADING, J.FAILED)),
        Scenario(cancelled_in_the_queue, job(J.QUEUED, J.CANCELLED), limit=1),
        Scenario(failed_in_the_queue, job(J.QUEUED, J.FAILED), limit=1),
        Scenario(failed_at_work, job(J.RUNNING, J.FAILED)),
        Scenario(
            cancelled_while_the_machine_is_made,
            job(J.PROVISIONING, J.CANCELLED) + worker(W.CREATING, W.DELETING),
            {"create_timeout_s": 5},
        ),
        Scenario(cancelled_while_the_app_is_started, job(J.STARTING, J.CANCELLED) + worker(W.BOOTING, W.DELETING)),
        Scenario(cancelled_at_work, job(J.RUNNING, J.CANCELLED)),
        Scenario(cancelled_while_lost, job(J.RUNNING, J.LOST, J.CANCELLED)),
        Scenario(lost_and_heard_of_again, job(J.LOST, J.RUNNING) + job(J.LOST, J.FINISHING)),
        Scenario(machine_vanishes, job(J.LOST, J.QUEUED)),
        Scenario(last_machine_vanishes, job(J.LOST, J.FAILED), {"max_attempts": 1}),
        Scenario(terraform_fails, job(J.PROVISIONING, J.QUEUED)),
        Scenario(terraform_fails_for_good, job(J.PROVISIONING, J.FAILED), {"max_attempts": 1}),
        Scenario(play_fails, job(J.STARTING, J.QUEUED)),
        Scenario(
            play_fails_for_good, job(J.STARTING, J.FAILED) + worker(W.BOOTING, W.HELD), {"max_attempts": 1, "hold_failed_s": 3}
        ),
        Scenario(failing_app_is_held, worker(W.BUSY, W.HELD, W.DELETING), {"hold_failed_s": 3}),
        Scenario(result_vanishes, job(J.FINISHING, J.FAILED), {"finishing_timeout_s": 1}, dies_at=AT_THE_RESULT),
        Scenario(result_vanishes_and_the_job_is_cancelled, job(J.FINISHING, J.CANCELLED), dies_at=AT_THE_RESULT),
        Scenario(flavor_goes, worker(W.REQUESTED, W.DELETING), dies_at=("worker:>requested:after",)),
        Scenario(cancelled_before_the_app_counts_as_started, worker(W.READY, W.DELETING), dies_at=WHEN_READY),
        Scenario(
            play_fails_before_the_app_counts_as_started,
            worker(W.READY, W.HELD),
            {"max_attempts": 1, "hold_failed_s": 3, "play_timeout_s": 4},
            dies_at=WHEN_READY,
        ),
    )
}
