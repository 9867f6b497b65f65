"""The promises, checked from outside: what the rows, the folders, the ledger and the kernel say when all is quiet again."""

from collections import defaultdict
from itertools import pairwise

import psutil

from server.db.models import Event, Job, Worker
from server.engine.records.record import recorded_state
from server.home.files import is_set_aside
from server.home.installation import installation_id
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.faults.lab import Lab, mentions, wait
from tests.faults.points import Change
from tests.processes import command_of, is_alive

QUIET_S = 20.0


def check(lab: Lab) -> None:
    """All of them; the controller may run."""
    with lab.rows():
        _history_has_no_gaps()
        _weight_was_kept(lab)
        for job in Job.select():
            _ended_right(lab, job)
    _nothing_ran_twice(lab)
    _nothing_is_left(lab)


def history(lab: Lab) -> frozenset[Change]:
    """Every change that happened."""
    with lab.rows():
        return frozenset(Change(event.subject, event.old, event.new) for event in Event.select().where(Event.new != ""))


def _history_has_no_gaps() -> None:
    for table, subject in ((Job, "job"), (Worker, "worker")):
        told: dict[int, list[Event]] = defaultdict(list)
        for event in Event.select().where(Event.subject == subject, Event.new != "").order_by(Event.id):
            told[event.subject_id].append(event)
        for row in table.select():
            events = told.pop(row.id, [])
            assert events, f"{subject} {row.id} has no history"
            assert events[0].old == "", f"{subject} {row.id} does not begin"
            assert all(one.new == two.old for one, two in pairwise(events)), f"{subject} {row.id} has a gap"
            assert events[-1].new == row.state, f"{subject} {row.id} ends otherwise"
        assert not told, f"history of {subject}s that are not there: {sorted(told)}"


def _weight_was_kept(lab: Lab) -> None:
    weights = {worker.id: worker.weight for worker in Worker.select()}
    used = 0
    for event in Event.select().where(Event.subject == "worker", Event.new != "").order_by(Event.id):
        used += weights[event.subject_id] * ((event.old == "") - (event.new == "deleted"))
        assert used <= lab.limit, f"weight {used} of {lab.limit} at event {event.id}"


def _ended_right(lab: Lab, job: Job) -> None:
    assert JobState(job.state).is_final, f"job {job.id} is {job.state}"
    assert job.ended is not None
    folder = lab.storage.folder(job.folder)
    wait(
        lambda: not folder.path.exists() or recorded_state(folder) == job.state,
        QUIET_S,
        lambda: f"the record of job {job.id} says {recorded_state(folder) or 'nothing'}, not {job.state}",
    )
    result = lab.storage.folder(job.folder).output / "result.txt"
    if job.state == JobState.DONE:
        assert result.read_text() == f"{job.description}\n", f"job {job.id} is done without its result"
    if job.state == JobState.FAILED:
        assert job.reason, f"job {job.id} failed without a reason"
        assert job.message, f"job {job.id} failed without a message"


def _nothing_ran_twice(lab: Lab) -> None:
    """Runs of one job never overlap, and there are not more of them than attempts that the runner took up."""
    runs: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for line in lab.ledger.read_text().splitlines() if lab.ledger.exists() else ():
        what, name, at = line.split()
        runs[name].append((what, float(at)))
    with lab.rows():
        for name, entries in runs.items():
            job = Job.get((Job.description == name) | (Job.id == lab.numbers.get(name, 0)))
            begun = sum(what == "begin" for what, _ in entries)
            markers = len(list(lab.storage.folder(job.folder).path.glob(".cumulus.attempt.*")))
            taken_up = job.attempt if job.state in (JobState.ARCHIVED, JobState.DELETED) else markers  # its folder is gone
            assert begun <= taken_up, f"{name} ran {begun} times in {taken_up} attempts"
            if job.state == JobState.DONE:
                assert entries[-1][0] == "end", f"{name} is done, and another run of it was begun"
            ended = [what for what, _ in entries].count("end")
            assert ended <= 1 or job.attempt > 1, f"{name} ran to its end {ended} times in one attempt"


def _nothing_is_left(lab: Lab) -> None:
    cloud = LocalCloud(lab.settings, installation_id(lab.settings.home))
    terraform = lab.settings.home / "terraform" / "local-worker"
    assert cloud.resources() == []
    assert sorted(path.name for path in (terraform / "state" / "workspaces").glob("*")) == []
    assert sorted(path.name for path in (terraform / "vars").glob("*") if not is_set_aside(path)) == []
    own = lab.process.pid if lab.process else 0
    wait(lambda: _processes(lab, own) == [], QUIET_S, lambda: f"left at work: {_processes(lab, own)}")


def _processes(lab: Lab, own: int) -> list[str]:
    others = (one for one in psutil.process_iter(["name"]) if one.pid != own and "pytest" not in (one.info["name"] or ""))
    return [" ".join(command_of(one))[:150] for one in others if mentions(one, lab.root) and is_alive(one)]
