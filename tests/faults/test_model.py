"""Any order of submissions, cancellations, deletions, crashes and faults: what each job may become, and the promises."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server import app as parts
from server.db import transitions
from server.db.models import Event, Job, Worker
from server.db.queries import living_workers
from server.db.settings_store import drain
from server.db.transitions import Change
from server.errors import CumulusError, NotFound
from server.reasons import Reason
from server.services.jobs.service import AlreadyEnded
from server.services.jobs.submission import Submission
from server.services.principal import Principal
from server.settings import CloudName, Settings
from server.states import JobState
from tests.faults.figures import record
from tests.faults.toy import TROUBLES, Crash, Inline, Machine, ToyCloud, ToyFleet, World

pytestmark = pytest.mark.system

LIMIT, LONG = 4, 1000
FLAVORS = f"NAME\tWEIGHT\tCPU\tRAM\nlight\t1\t1\t1\nheavy\t3\t2\t2\nMAX_ACCUMULATED_WEIGHT = {LIMIT}\n"
APPS = Path(__file__).parents[1] / "apps"
FORM = '{"text": "x", "seconds": "0", "outcome": "ok"}'


class Installation(RuleBasedStateMachine):
    """The real rows, folders and rules over a world that is pretended."""

    @initialize(ready=st.integers(0, 1))
    def begin(self, ready: int) -> None:
        self.ready = ready
        self.root = Path(tempfile.mkdtemp(prefix="cumulus-model-"))
        (self.root / "flavors.tsv").write_text(FLAVORS)
        self.world = World()
        self.now = 1_800_000_000.0
        self.steady = 1_000.0
        self.crash_at = 0
        self.wanted: dict[int, str] = {}
        self.patch = pytest.MonkeyPatch()
        self.record = transitions._record
        self.patch.setattr(transitions, "_record", self._recorded)
        self.patch.setattr(parts, "make_fleet", lambda settings, cloud, fork_server: ToyFleet(self.world))
        self._start()
        for flavor in ("light", "heavy", "light"):
            self.submit(owner="ada", flavor=flavor, arrives=True)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self._calm()
                self._check()
            finally:
                self._end()
                self.patch.undo()
                shutil.rmtree(self.root, ignore_errors=True)

    # what people do

    @rule(
        owner=st.sampled_from(["ada", "bob"]),
        flavor=st.sampled_from(["light", "light", "heavy"]),
        arrives=st.sampled_from([True, True, True, False]),
    )
    def submit(self, owner: str, flavor: str, arrives: bool) -> None:
        self._survive(lambda: self._submit(owner, flavor, arrives))
        self.turn()

    @rule(data=st.data())
    @precondition(lambda self: self.wanted)
    def arrive(self, data: st.DataObject) -> None:
        job = Job.get_by_id(self._choose(data))
        if job.state == JobState.UPLOADING:
            self.controller.storage.folder(job.folder).mark_arrived()

    @rule(data=st.data(), again=st.booleans())
    @precondition(lambda self: self.wanted)
    def cancel(self, data: st.DataObject, again: bool) -> None:
        number = self._choose(data)
        self.wanted[number] = "cancelled"
        for _ in range(1 + again):
            with suppress(AlreadyEnded), self._of(number):
                self._survive(lambda: self.controller.jobs.cancel(Principal.desktop(Job.get_by_id(number).owner), number))
        self.turn()

    @rule(data=st.data())
    @precondition(lambda self: self.wanted)
    def delete(self, data: st.DataObject) -> None:
        number = self._choose(data)

        def act() -> None:
            try:
                self.controller.jobs.delete(Principal.desktop(Job.get_by_id(number).owner), number)
            except CumulusError:
                assert not JobState(Job.get_by_id(number).state).is_final

        self._survive(act)

    @rule(data=st.data())
    @precondition(lambda self: self.wanted)
    def fail(self, data: st.DataObject) -> None:
        number = self._choose(data)
        if Job.get_by_id(number).state == JobState.UPLOADING:
            self.wanted[number] = "cancelled"
        with self._of(number):
            self._survive(lambda: self.controller.jobs.fail(Principal.agent(), number, "no such file"))

    # what machines do

    @rule(data=st.data(), well=st.booleans())
    @precondition(lambda self: self._running())
    def finish(self, data: st.DataObject, well: bool) -> None:
        machine = data.draw(st.sampled_from(self._running()))
        self.world.finish(machine, well=well)
        if not well and machine.folder:
            self._expect_failure(machine.folder.name)
        self.turn()

    @rule(data=st.data())
    @precondition(lambda self: self.world.machines)
    def vanish(self, data: st.DataObject) -> None:
        self.world.machines.pop(data.draw(st.sampled_from(sorted(self.world.machines))))

    @rule(data=st.data(), reachable=st.booleans(), running=st.booleans())
    @precondition(lambda self: self.world.machines)
    def ail(self, data: st.DataObject, reachable: bool, running: bool) -> None:
        machine = self.world.machines[data.draw(st.sampled_from(sorted(self.world.machines)))]
        machine.reachable = reachable
        machine.running = machine.running and running

    @rule(data=st.data())
    @precondition(lambda self: self._running())
    def fall_silent(self, data: st.DataObject) -> None:
        """The network to a machine is gone: its app goes on, and it cannot be removed at once either."""
        data.draw(st.sampled_from(self._running())).reachable = False
        self.pass_time(25.0)
        self.world.troubles = ["no removal"]
        for _ in range(3):
            self.pass_time(130.0)

    @rule(name=st.sampled_from(["job-99", "job-1-7"]))
    def leak(self, name: str) -> None:
        """Something of ours that nobody accounts for."""
        self.world.machines.setdefault(name, Machine(name))

    @rule()
    def take_snapshot(self) -> None:
        """From now on machines are made of another one."""
        self.world.snapshot += 1
        self.turn()

    # what goes wrong

    @rule(kinds=st.lists(st.sampled_from(TROUBLES), min_size=1, max_size=3))
    def trouble(self, kinds: list[str]) -> None:
        self.world.troubles += kinds
        self.turn()

    @rule()
    def crash(self) -> None:
        self._restart()
        self.turn()

    @rule(at=st.integers(1, 6))
    def crash_within_a_transaction(self, at: int) -> None:
        self.crash_at = at
        self.turn()

    @rule(seconds=st.sampled_from([-86_400.0, -3_600.0, 3_600.0, 90_000.0]))
    def set_clock(self, seconds: float) -> None:
        self.now += seconds
        self.turn()

    # what passes

    @rule(seconds=st.sampled_from([0.0, 1.0, 25.0, 130.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds
        self.turn()

    @rule()
    def turn(self) -> None:
        self._survive(lambda: self.controller.loop.turn())

    # what must always be so

    @invariant()
    def weight_is_kept(self) -> None:
        if hasattr(self, "world"):
            assert sum(worker.weight for worker in living_workers()) <= LIMIT

    @invariant()
    def no_attempt_began_twice(self) -> None:
        if hasattr(self, "world"):
            assert self.world.broken == []
            assert all(number == 1 for number in Counter(self.world.begun).values())

    @invariant()
    def who_runs_has_a_row(self) -> None:
        if hasattr(self, "world"):
            names = {worker.name for worker in living_workers()}
            assert {machine.name for machine in self._running()} <= names

    def _start(self) -> None:
        given = Settings(
            home=self.root / "home",
            cloud=CloudName.LOCAL,
            apps=APPS,
            flavors=self.root / "flavors.tsv",
            min_free_gb=0,
            breaker_failures=4,
            breaker_pause_s=30,
            max_attempts=3,
            min_ready={"light": self.ready},
        )
        cloud = ToyCloud(given, "c000000000000")
        cloud.world = self.world
        self.controller = parts.make_controller(given, cloud, lambda: self.now, lambda: self.steady)
        self.controller.loop._background._executor.shutdown()
        self.controller.loop._background._executor = Inline()

    def _end(self) -> None:
        self.controller.loop._file_watcher.close()
        self.controller.database.close()

    def _restart(self) -> None:
        self.crash_at = 0
        self._end()
        self._start()

    @contextmanager
    def _of(self, number: int) -> Iterator[None]:
        """What is asked of a job that its owner has deleted: nobody knows it."""
        try:
            yield
        except NotFound:
            assert Job.get_by_id(number).state == JobState.DELETED

    def _survive(self, act: object) -> None:
        """Do it; where the controller crashes meanwhile, the next one starts."""
        try:
            act()  # type: ignore[operator]
        except Crash:
            self._restart()

    def _recorded(self, *arguments: object) -> None:
        self.record(*arguments)  # type: ignore[arg-type]
        if self.crash_at:
            self.crash_at -= 1
            if not self.crash_at:
                raise Crash("within a transaction")

    def _submit(self, owner: str, flavor: str, arrives: bool) -> None:
        job = self.controller.jobs.submit(Principal.desktop(owner), Submission("probe_1.0", flavor, FORM))
        self.wanted[job.id] = "done"
        if arrives:
            self.controller.storage.folder(job.folder).mark_arrived()

    def _choose(self, data: st.DataObject) -> int:
        return int(data.draw(st.sampled_from(sorted(self.wanted))))

    def _running(self) -> list[Machine]:
        return [self.world.machines[name] for name in sorted(self.world.machines) if self.world.machines[name].running]

    def _expect_failure(self, folder: str) -> None:
        job = Job.get(Job.folder == folder)
        if not JobState(job.state).is_final and self.wanted.get(job.id) == "done":
            self.wanted[job.id] = "failed"

    def _calm(self) -> None:
        """Nothing goes wrong any more; apps end well, files arrive, time passes, and at last no machine waits for a job."""
        self.world.troubles.clear()
        self.crash_at = 0
        for job in Job.select().where(Job.state == JobState.UPLOADING):
            self.controller.storage.folder(job.folder).mark_arrived()
        for _ in range(400):
            for machine in self._running():
                self.world.finish(machine, well=True)
            self.now += 25.0
            self.steady += 25.0
            self.controller.loop.turn()
            unfinished = [job for job in Job.select() if not JobState(job.state).is_final]
            if not unfinished:
                drain("calm", Change(self.now))
            if not unfinished and not living_workers() and not self.world.machines and not self.world.workspaces:
                return
        raise AssertionError(f"it does not come to rest: {[(job.id, job.state, job.message) for job in unfinished]}")

    def _check(self) -> None:
        for number, wanted in self.wanted.items():
            job = Job.get_by_id(number)
            end = job.outcome
            assert JobState(job.state).is_final
            infrastructure = job.reason and Reason(job.reason).retryable
            allowed = {"done": {"done"}, "failed": {"failed"}, "cancelled": {"cancelled", "done", "failed"}}[wanted]
            assert end in allowed or (end == "failed" and infrastructure) or (wanted == "failed" and end == "done"), (
                number,
                end,
                wanted,
            )
            if end == "done":
                assert any(folder == job.folder for folder, _ in self.world.begun), f"job {number} is done and never ran"
        for subject, table in (("job", Job), ("worker", Worker)):
            for row in table.select():
                events = list(
                    Event.select().where(Event.subject == subject, Event.subject_id == row.id, Event.new != "").order_by(Event.id)
                )
                assert events[0].old == ""
                assert all(one.new == two.old for one, two in pairwise(events))
                assert events[-1].new == row.state


class TestShort(Installation.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.long
@pytest.mark.timeout(3600)
class TestLong(Installation.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=LONG, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))

    def runTest(self) -> None:  # noqa: N802  # the name is unittest's
        super().runTest()
        record("model", "long", examples=LONG)
