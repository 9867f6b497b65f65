"""The queue: order, fairness, one transfer for several jobs, and what a restart finds."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from peewee import SqliteDatabase

from agent.queue.database import DatabaseTooNew, open_database
from agent.queue.models import Change, Event, ForbiddenTransition, Job, Transfer, Want, transition
from agent.queue.orders import DATA, Order, Wanted, own_place
from agent.queue.queue import Queue
from agent.queue.schema import STEPS
from agent.queue.states import JobState, TransferState
from agent.queue.turns import BATCH_BYTES
from agent.serve import Agent

NOW = 1_000_000.0
BIG = BATCH_BYTES + 1
Adder = Callable[..., int]


@pytest.fixture
def add(queue: Queue) -> Adder:
    """Order files (name → size) for an owner, all complete; returns the job's number."""
    numbers = count(1)

    def ordered(
        owner: str, *names: str, size: int = BIG, local: tuple[str, ...] = (), folder: str = "/x", survey: bool = True
    ) -> int:
        number = next(numbers)
        job = f"Job_{number}_{owner}_app_1"
        wanted = [Wanted(f"{folder}/{name}", DATA, name) for name in names]
        wanted += [Wanted(f"{folder}/{name}", own_place(job), name) for name in local]
        assert queue.jobs.add(Order(number, job, owner, tuple(wanted)), NOW)
        for transfer in queue.transfers.to_survey(NOW) if survey else ():
            queue.transfers.ready(transfer, "seen", size, is_folder=False, now=NOW)
        return number

    return ordered


def begin(queue: Queue, now: float = NOW) -> list[str]:
    return [one.name for one in queue.next_batch(now)]


def finish(queue: Queue, *names: str, now: float = NOW) -> None:
    ids = [row.id for row in Transfer.select().where(Transfer.name.in_(names), Transfer.state == TransferState.SENDING)]
    assert len(ids) == len(names)
    queue.transfers.arrived(dict.fromkeys(ids, "[]"), now)


def state_of(number: int) -> str:
    return str(Job.get(Job.number == number).state)


def test_files_go_in_the_order_of_their_arrival(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw", "b.raw")
    add("anna", "c.raw")
    sent = []
    for step in range(3):
        sent += (names := begin(queue, NOW + step))
        finish(queue, *names)
    assert sent == ["a.raw", "b.raw", "c.raw"]
    assert begin(queue) == []


def test_an_owner_with_one_file_does_not_wait_for_all_of_another_owners(queue: Queue, add: Adder) -> None:
    add("anna", *(f"a{number}.raw" for number in range(100)))
    add("bert", "b.raw")
    assert begin(queue, NOW) == ["a0.raw"]
    finish(queue, "a0.raw")
    assert begin(queue, NOW + 1) == ["b.raw"]


def test_two_transfers_at_once_are_of_two_owners(queue: Queue, add: Adder) -> None:
    add("anna", "a0.raw", "a1.raw", "a2.raw")
    add("bert", "b.raw")
    assert begin(queue) + begin(queue) + begin(queue) == ["a0.raw", "b.raw", "a1.raw"]


def test_who_was_served_is_remembered_over_a_restart(queue: Queue, add: Adder) -> None:
    add("anna", "a0.raw", "a1.raw")
    add("bert", "b.raw")
    assert begin(queue, NOW) == ["a0.raw"]
    finish(queue, "a0.raw")
    assert begin(Queue(), NOW + 1) == ["b.raw"]


def test_a_shared_file_that_two_jobs_want_is_one_transfer(queue: Queue, add: Adder) -> None:
    first, second = add("anna", "both.raw"), add("bert", "both.raw", "own.raw")
    assert Transfer.select().where(Transfer.name == "both.raw").count() == 1
    assert begin(queue) == ["both.raw"]
    finish(queue, "both.raw")
    assert (state_of(first), state_of(second)) == (JobState.MARKING, JobState.SENDING)
    assert begin(queue) == ["own.raw"]
    finish(queue, "own.raw")
    assert state_of(second) == JobState.MARKING


def test_a_file_of_one_job_alone_is_sent_for_each(queue: Queue, add: Adder) -> None:
    add("anna", local=("list.txt",))
    add("anna", local=("list.txt",))
    assert Transfer.select().count() == 2


def test_a_file_that_was_sent_before_is_looked_at_again_for_a_later_job(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw")
    finish(queue, *begin(queue))
    later = add("anna", "a.raw")
    assert state_of(later) == JobState.SENDING
    assert begin(queue) == ["a.raw"]


def test_two_files_of_one_name_never_travel_at_once(queue: Queue, add: Adder) -> None:
    add("anna", "blank.raw", folder="/x")
    add("bert", "blank.raw", folder="/y")
    assert begin(queue) == ["blank.raw"]
    assert begin(queue) == []
    finish(queue, "blank.raw")
    assert begin(queue) == ["blank.raw"]
    assert Transfer.get(Transfer.state == TransferState.SENDING).source == "/y/blank.raw"


def test_small_files_of_one_folder_go_together_and_large_ones_alone(queue: Queue, add: Adder) -> None:
    add("anna", "a.txt", "b.txt", size=10)
    add("anna", "elsewhere.txt", size=10, folder="/y")
    add("anna", "large.raw")
    add("anna", "c.txt", size=10)
    assert begin(queue) == ["a.txt", "b.txt", "c.txt"]
    assert begin(queue) == ["elsewhere.txt"]
    assert begin(queue) == ["large.raw"]


def test_a_batch_is_no_larger_than_allowed(queue: Queue, add: Adder) -> None:
    add("anna", "a", "b", "c", size=BATCH_BYTES // 2)
    assert begin(queue) == ["a", "b"]


def test_what_failed_in_a_batch_goes_alone(queue: Queue, add: Adder) -> None:
    add("anna", "a", "b", "c", size=10)
    for one in queue.next_batch(NOW):
        queue.transfers.again(one, TransferState.READY, "one of them", NOW, alone=True)
    assert begin(queue) == ["a"]


def test_another_owner_is_not_slowed_by_who_wants_the_same_file(queue: Queue, add: Adder) -> None:
    add("anna", "a0.raw", "a1.raw", "both.raw")
    add("bert", "both.raw")
    assert begin(queue, NOW) == ["a0.raw"]
    finish(queue, "a0.raw")
    assert begin(queue, NOW + 1) == ["both.raw"]


def test_a_job_without_files_is_complete_at_once(queue: Queue, add: Adder) -> None:
    assert state_of(add("anna")) == JobState.MARKING


def test_an_order_that_comes_twice_is_taken_once(queue: Queue) -> None:
    order = Order(1, "Job_1_anna_app_1", "anna", (Wanted("/x/a", DATA, "a"),))
    assert queue.jobs.add(order, NOW)
    assert not queue.jobs.add(order, NOW + 1)
    assert (Job.select().count(), Transfer.select().count()) == (1, 1)


def test_a_refused_order_is_a_job_that_the_controller_must_hear_of(queue: Queue) -> None:
    queue.jobs.add(Order(1, "Job_1_anna_app_1", "anna", refusal="not below a root"), NOW)
    (job,) = queue.jobs.due(NOW)
    assert (job.state, job.message) == (JobState.FAILING, "not below a root")


def test_a_restart_takes_up_what_was_being_sent_and_keeps_its_turn(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw", "b.raw")
    assert begin(queue) == ["a.raw"]
    assert Queue().upkeep.recover(NOW + 1) == 1
    assert begin(queue, NOW + 2) == ["a.raw"]


def test_only_the_owner_cancels(queue: Queue, add: Adder) -> None:
    number = add("anna", "a.raw")
    assert queue.jobs.cancel("bert", number, NOW) == (False, [])
    assert state_of(number) == JobState.SENDING
    assert queue.jobs.cancel("anna", number, NOW) == (True, [])
    assert (state_of(number), Transfer.get().state) == (JobState.CANCELLED, TransferState.CANCELLED)
    assert queue.listing.lines() == []


def test_a_cancelled_job_stops_what_is_sent_for_it_alone(queue: Queue, add: Adder) -> None:
    first, _ = add("anna", "both.raw", "own.raw"), add("bert", "both.raw")
    assert begin(queue, NOW) == ["both.raw"]
    assert begin(queue, NOW + 1) == ["own.raw"]
    own = Transfer.get(Transfer.name == "own.raw")
    assert queue.jobs.cancel("anna", first, NOW) == (True, [own.id])
    assert Transfer.get(Transfer.name == "both.raw").state == TransferState.SENDING


def test_what_arrives_after_a_cancellation_changes_nothing(queue: Queue, add: Adder) -> None:
    number = add("anna", "a.raw")
    (transfer,) = queue.next_batch(NOW)
    queue.jobs.cancel("anna", number, NOW)
    queue.transfers.arrived({transfer.id: "[]"}, NOW)
    queue.transfers.again(transfer, TransferState.READY, "broken", NOW)
    assert (state_of(number), Transfer.get().state) == (JobState.CANCELLED, TransferState.CANCELLED)


def test_a_failed_file_fails_every_job_that_wants_it_and_drops_the_rest_of_theirs(queue: Queue, add: Adder) -> None:
    first, second, third = add("anna", "bad.raw", "a.raw"), add("bert", "bad.raw", "b.raw"), add("carl", "b.raw")
    (bad,) = queue.next_batch(NOW)
    queue.transfers.fail(bad, "cannot be read", NOW)
    assert [state_of(number) for number in (first, second, third)] == [JobState.FAILING, JobState.FAILING, JobState.SENDING]
    assert {job.message for job in queue.jobs.due(NOW)} == {"cannot be read"}
    assert Transfer.get(Transfer.name == "a.raw").state == TransferState.CANCELLED
    assert begin(queue) == ["b.raw"]


def test_a_file_that_is_to_be_tried_again_waits_and_lets_others_pass(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw", "b.raw")
    (first,) = queue.next_batch(NOW)
    queue.transfers.again(first, TransferState.READY, "network", NOW, delay_s=60)
    assert begin(queue, NOW + 1) == ["b.raw"]
    assert queue.upkeep.next_time(NOW + 1) == NOW + 60
    assert begin(queue, NOW + 61) == ["a.raw"]
    assert Transfer.get(Transfer.name == "a.raw").failures == 1


def test_progress_is_told_for_what_is_not_there_yet(queue: Queue, add: Adder) -> None:
    number = add("anna", "a.raw", "b.raw", size=BIG)
    (first,) = queue.next_batch(NOW)
    queue.transfers.note_sent(first.id, BIG // 2, further=True)
    assert {line.name: line.percent for line in queue.listing.lines("anna", number)} == {"a.raw": 49, "b.raw": 0}
    assert queue.listing.lines("bert", number) == []
    queue.transfers.arrived({first.id: "[]"}, NOW)
    assert [line.name for line in queue.listing.lines("anna", number)] == ["b.raw"]
    assert queue.listing.shared_names(DATA) == ["b.raw"]


def test_every_change_of_a_state_leaves_an_event(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw")
    finish(queue, *begin(queue))
    told = [(row.subject, row.old, row.new) for row in Event.select().order_by(Event.id)]
    assert told == [
        ("job", "", "sending"),
        ("transfer", "", "waiting"),
        ("transfer", "waiting", "ready"),
        ("transfer", "ready", "sending"),
        ("transfer", "sending", "sent"),
        ("job", "sending", "marking"),
    ]


def test_states_change_only_by_the_ways_that_there_are(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw")
    row = Transfer.get()
    with pytest.raises(ForbiddenTransition):
        transition(Transfer, row.id, TransferState.READY, TransferState.SENT, Change(NOW))
    with pytest.raises(ForbiddenTransition):
        transition(Transfer, row.id, TransferState.SENDING, JobState.FAILED, Change(NOW))
    assert not transition(Transfer, row.id, TransferState.SENDING, TransferState.SENT, Change(NOW))
    assert Transfer.get().state == TransferState.READY


def test_old_jobs_are_forgotten_with_what_was_sent_for_them(queue: Queue, add: Adder) -> None:
    add("anna", "a.raw")
    finish(queue, *begin(queue))
    add("anna", "a.raw")
    finish(queue, *begin(queue))
    add("anna", "open.raw")
    for job in queue.jobs.due(NOW):
        queue.jobs.end(job, JobState.DELIVERED, "", NOW)
    assert queue.upkeep.forget(NOW + 1) == 2
    assert [job.number for job in Job.select()] == [3]
    assert Want.select().count() == 1
    assert [row.name for row in Transfer.select()] == ["open.raw"]


def test_a_queue_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    SqliteDatabase(str(path)).execute_sql(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(DatabaseTooNew):
        open_database(path)


def limits(queue: Queue) -> list[float | None]:
    """What limits and pauses of what is at work are counted from."""
    transfer, job = Transfer.select().order_by(Transfer.id).first(), Job.select().order_by(Job.id).first()
    return [transfer.state_since, transfer.not_before, transfer.failing_since, job.state_since, job.not_before]


@pytest.fixture
def failing(queue: Queue, add: Adder) -> None:
    """A transfer that has failed once and is tried again later, and one that is over."""
    add("ada", "a")
    (transfer,) = queue.next_batch(NOW)
    queue.transfers.again(transfer, TransferState.READY, "no network", NOW, delay_s=50.0)
    add("ada", "b")
    Transfer.update(state=TransferState.SENT).where(Transfer.name == "b").execute()


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("seconds", [100 * 86_400.0, -100 * 86_400.0])
def test_a_clock_that_is_set_moves_what_limits_are_counted_from(queue: Queue, seconds: float) -> None:
    before, over = limits(queue), Transfer.get(Transfer.name == "b").state_since
    queue.upkeep.adjust_clock(seconds)
    assert limits(queue) == [None if at is None else at + seconds for at in before]
    assert Transfer.get(Transfer.name == "b").state_since == over


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("days", [100, -100])
def test_after_an_absence_no_limit_is_over_and_no_pause_endless(queue: Queue, days: int) -> None:
    now = NOW + days * 86_400.0
    queue.upkeep.begin_anew(now)
    transfer_since, not_before, failing_since, job_since, job_not_before = limits(queue)
    assert (transfer_since, failing_since, job_since) == (now, None, now)
    assert not_before is not None
    assert job_not_before is not None
    assert max(not_before, job_not_before) <= now
    assert Transfer.get(Transfer.name == "b").state_since == NOW


def test_the_loop_hears_of_a_clock_that_is_set(agent: Agent) -> None:
    clock, moved = [NOW, 100.0], list[float]()
    loop = agent.loop
    loop._clock, loop._steady, loop._last = (lambda: clock[0]), (lambda: clock[1]), (NOW, 100.0)
    loop._queue.upkeep.adjust_clock = moved.append  # type: ignore[method-assign]
    for by, passed in ((5.0, 5.0), (7200.0 + 10.0, 10.0), (20.0, 20.0), (-7200.0, 0.0)):
        clock[0], clock[1] = clock[0] + by, clock[1] + passed
        loop._adjust_clock(clock[0])
    assert moved == [7200.0, -7200.0]
