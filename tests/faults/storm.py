"""Many lives of jobs at once while everything around them fails at random: tools, machines, runners, controller, database."""

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from server.db.models import Event, Job
from server.db.settings_store import drain
from server.db.transitions import Change
from server.reasons import Reason
from server.states import JobState
from tests.faults.lab import Lab, mentions
from tests.faults.promises import check

AT_ONCE = 14
GIVEN = {
    "max_attempts": 60,
    "breaker_pause_s": 0.5,
    "create_timeout_s": 20.0,
    "play_timeout_s": 15.0,
    "lost_timeout_s": 60.0,
    "provisioning_timeout_s": 120.0,
    "min_ready": {"light": 2},
}
# How often a call of a tool goes wrong in each way, out of a hundred.
TERRAFORM = {"fail apply": 4, "error-after-success apply": 3, "success-without-doing apply": 3, "die-half-way apply": 3}
TERRAFORM |= {"garbage apply": 2, "slow apply": 3, "hang apply": 0.5}
TERRAFORM |= {"fail destroy": 3, "error-after-success destroy": 2, "success-without-doing destroy": 2, "die-half-way destroy": 2}
ANSIBLE = {"fail start": 4, "error-after-success start": 4, "success-without-doing start": 2, "die-half-way start": 3}
ANSIBLE |= {"garbage start": 2, "slow start": 3, "hang start": 0.5, "fail teardown": 2, "die-half-way teardown": 2}


@dataclass
class Expected:
    """What is to become of a job."""

    name: str
    code: int
    seconds: float
    cancelled: bool = False


@dataclass
class Storm:
    """One storm over a lab; ``number``: lives of jobs. The same ``seed`` does the same things, though not at the same moments."""

    lab: Lab
    number: int
    seed: int
    erasing: bool = False
    jobs: list[Expected] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._next = time.monotonic() + 3.0

    def rage(self) -> None:
        """All lives, then calm, then the promises."""
        self.lab.start()
        while len(self.jobs) < self.number or self._unfinished():
            if len(self.jobs) < self.number and self._unfinished() < AT_ONCE:
                self._submit()
            self._spoil_tools()
            if time.monotonic() > self._next:
                self._strike()
                self._next = time.monotonic() + self._dice.uniform(1.0, 5.0)
            self.lab.revive()
            time.sleep(0.05)
        for tool in ("terraform", "ansible-playbook"):
            (self.lab.faults / tool).unlink(missing_ok=True)
        with self.lab.rows():
            drain("calm", Change(time.time()))  # no machine waits for a job any more
        self.lab.settle(300)
        time.sleep(3 * self.lab.settings.sweep_interval_s)  # what a lost database no longer tells of is found by the sweeper
        self._ended_as_expected()
        check(self.lab)

    def figures(self) -> dict[str, object]:
        """What was done to it, for people."""
        with self.lab.rows():
            attempts = sum(job.attempt for job in Job.select(Job.attempt))
            lost = Event.select().where(Event.reason == Reason.MACHINE_LOST).count()
        tools = {}
        for tool in ("terraform", "ansible-playbook"):
            path = self.lab.faults / f"{tool}.done"
            tools[tool] = len(path.read_text().splitlines()) if path.exists() else 0
        return {
            "lifecycles": len(self.jobs),
            "attempts": attempts,
            "controller killed": self.lab.kills,
            "machines lost": lost,
            "tools spoiled": sum(tools.values()),
            "strikes": dict(self.done),
        }

    def _submit(self) -> None:
        wish = Expected(
            f"storm-{len(self.jobs)}", 3 if self._dice.random() < 0.08 else 0, self._dice.choice((0, 0, 0, 0.5, 1, 4))
        )
        flavor = self._dice.choices(("light", "middle", "heavy"), (8, 3, 1))[0]
        self.lab.submit(wish.name, seconds=wish.seconds, code=wish.code, flavor=flavor, owner=self._dice.choice(("ada", "bob")))
        self.jobs.append(wish)

    def _spoil_tools(self) -> None:
        for tool, ways in (("terraform", TERRAFORM), ("ansible-playbook", ANSIBLE)):
            plan = self.lab.faults / tool
            if not plan.exists() or plan.stat().st_size == 0:
                chosen = [way for way, often in ways.items() if self._dice.random() * 12 < often]
                good = [f"real {way}" for way in ("apply", "start") if (way == "apply") == (tool == "terraform")] * 6
                lines = chosen + good
                self._dice.shuffle(lines)
                self.lab.plan(tool, *lines)

    def _strike(self) -> None:
        ways: list[tuple[Callable[[], object], float]] = [
            (self._kill_controller, 3),
            (self._kill_machine, 3),
            (self._kill_runner, 2),
            (self._kill_tool, 3),
            (self._cancel, 3),
            (self._end_controller_in_order, 1),
            (self._erase, 0.7 if self.erasing else 0),
        ]
        way = self._dice.choices([way for way, _ in ways], [often for _, often in ways])[0]
        name = way.__name__.strip("_").replace("_", " ")
        if way() is not False:
            self.done[name] = self.done.get(name, 0) + 1

    def _kill_controller(self) -> None:
        self.lab.kill()

    def _end_controller_in_order(self) -> bool:
        if self.lab.has_died:
            return False
        assert self.lab.stop() < 10
        self.lab.start()
        return True

    def _erase(self) -> None:
        self.lab.kill()
        for path in self.lab.settings.home.glob("cumulus.sqlite*"):
            path.unlink()

    def _cancel(self) -> bool:
        left = [job for job in self.jobs[-AT_ONCE:] if not self._is_final(job)]
        if left:
            job = self._dice.choice(left)
            job.cancelled = True
            row = self.lab.job_of(job.name)
            assert row is not None
            self.lab.request("GET", f"/cancel/{row.owner}/{row.id}")
        return bool(left)

    def _kill_machine(self) -> bool:
        return self._at_a_machine(lambda machine: self.lab.crash(machine))

    def _kill_runner(self) -> bool:
        """The app goes with it, as on a real machine, where both are in one control group."""

        def kill(machine: Path) -> None:
            for process in psutil.process_iter():
                if mentions(process, machine):
                    with suppress(psutil.Error):
                        process.kill()

        return self._at_a_machine(kill)

    def _at_a_machine(self, act: Callable[[Path], None]) -> bool:
        folder = self.lab.settings.home / "local"
        machines = sorted(folder.iterdir()) if folder.is_dir() else []
        if machines:
            act(self._dice.choice(machines))
        return bool(machines)

    def _kill_tool(self) -> bool:
        names = ("terraform", "ansible-playbook")
        tools = [one for one in psutil.process_iter(["name"]) if one.info["name"] in names and self._is_ours(one)]
        if tools:
            with suppress(psutil.Error):
                self._dice.choice(tools).send_signal(signal.SIGKILL)
        return bool(tools)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            data = process.environ().get("TF_DATA_DIR", "")
        except (psutil.Error, OSError):
            return False
        return data.startswith(str(self.lab.root)) or mentions(process, self.lab.root)

    def _unfinished(self) -> int:
        with self.lab.rows() as database:
            ended = "SELECT count(*) FROM job WHERE state IN ('done','failed','cancelled','archived','deleted')"
            return len(self.jobs) - int(database.execute_sql(ended).fetchone()[0])

    def _is_final(self, job: Expected) -> bool:
        state = self.lab.state_of(job.name)
        return state == "" or JobState(state).is_final

    def _ended_as_expected(self) -> None:
        for job in self.jobs:
            row = self.lab.job_of(job.name)
            assert row is not None, f"{job.name} is lost"
            allowed = {JobState.FAILED} if job.code else {JobState.DONE}
            if job.cancelled:
                allowed |= {JobState.CANCELLED}
            assert row.state in allowed, f"{job.name} is {row.state}: {row.message}"
            if row.state == JobState.FAILED:
                assert row.reason == Reason.APP_FAILED, f"{job.name} failed: {row.message}"


def lab_for(root: Path) -> Lab:
    """A lab that gives up on no job."""
    return Lab(root, given=dict(GIVEN))
