"""An installation under fire: a real controller process on the local cloud, its tools, its clients, what is seen from outside."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from server.client import Client, Unreachable
from server.db.connection import open_database
from server.db.models import Job
from server.home.running import running_controller
from server.settings import CHECKOUT, CloudName, Settings
from server.states import JobState
from server.storage.folders import Storage
from server.workers.terraform.module import terraform_binary

HERE = Path(__file__).parent
START_LIMIT_S = 40.0
LIMIT_S = 120.0
FLAVORS = "NAME\tWEIGHT\tCPU\tRAM\nlight\t1\t1\t1\nmiddle\t2\t2\t2\nheavy\t4\t4\t4\nMAX_ACCUMULATED_WEIGHT = {limit}\n"
# Fast enough for a test, slow enough for a busy computer.
HASTE: dict[str, Any] = {
    "retry_delay_s": 0.2,
    "poll_interval_s": 0.1,
    "heartbeat_late_s": 2.0,
    "heartbeat_timeout_s": 30.0,
    "sweep_interval_s": 2.0,
    "create_timeout_s": 20.0,
    "play_timeout_s": 20.0,
    "delete_timeout_s": 20.0,
    "max_attempts": 9,
    "min_free_gb": 0,
}
T = TypeVar("T")


@dataclass
class Lab:
    """One installation in a folder of its own.

    ``kills``: how often its controller has died; ``to_die_at``: the points at which the next ones will, one after the other;
    ``armed``: that of the last one that was started. ``clock_s``: by how much the clock of who is started next is wrong.
    ``numbers``: of the jobs, by their names. ``before``: what starts the controller, with its arguments, where it is not started
    directly.
    """

    root: Path
    limit: int = 8
    given: dict[str, Any] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    kills: int = 0
    to_die_at: list[str] = field(default_factory=list)
    clock_s: float = 0.0
    armed: str = ""
    numbers: dict[str, int] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    _made: tuple[dict[str, Any], Settings] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "flavors.tsv").write_text(FLAVORS.format(limit=self.limit))
        self.faults.mkdir()
        programs = self.root / "bin"
        programs.mkdir()
        for name, real in (
            ("terraform", terraform_binary()),
            ("ansible-playbook", str(Path(sys.executable).parent / "ansible-playbook")),
        ):
            (programs / name).symlink_to(HERE / "tool")
            (self.faults / f"{name}.real").write_text(f"{real}\n")
        open_database(self.settings.database).close()

    @property
    def faults(self) -> Path:
        """What the tools are to do next."""
        return self.root / "faults"

    @property
    def ledger(self) -> Path:
        """What the apps say that they did."""
        return self.root / "ledger"

    @property
    def settings(self) -> Settings:
        """The controller's settings. They are asked for at every look, and made anew only where something else is given."""
        if self._made is None or self._made[0] != self.given:
            self._made = dict(self.given), self._make_settings()
        return self._made[1]

    def _make_settings(self) -> Settings:
        return Settings(
            home=self.root / "home",
            cloud=CloudName.LOCAL,
            flavors=self.root / "flavors.tsv",
            port=0,
            default_flavor="light",
            **{"apps": HERE / "apps", **HASTE, **self.given},
        )

    @property
    def storage(self) -> Storage:
        """The shared directory."""
        return Storage(self.settings.storage)

    def plan(self, tool: str, *modes: str) -> None:
        """What the next calls of a tool do: "<mode> [<subcommand>]"."""
        with (self.faults / tool).open("a") as file:
            file.write("".join(f"{mode}\n" for mode in modes))

    def start(self) -> None:
        """Start the controller, to die at the next point if there is one; returns once it answers, or has died."""
        self.armed = self.to_die_at.pop(0) if self.to_die_at else ""
        environment = {**self.environment(), **self._faults(), "CUMULUS_TEST_BIN": str(self.root / "bin")}
        environment |= {"CUMULUS_TEST_FAULTS": str(self.faults), "PATH": f"{self.root / 'bin'}:{environment['PATH']}"}
        with (self.root / "log").open("ab") as log:
            command = [*self.before, sys.executable, "-m", "tests.faults.launcher"]
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait(lambda: self.has_died or self._answers(), START_LIMIT_S, self.log)

    def environment(self) -> dict[str, str]:
        """What makes a command one of this installation."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("CUMULUS_")}
        for name, value in self.settings.model_dump(mode="json", exclude_defaults=True).items():
            found[f"CUMULUS_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
        return found

    def cumulus(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command, to its end."""
        command = [str(Path(sys.executable).with_name("cumulus")), *arguments]
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def command(self, *arguments: str) -> str:
        """One command, to die where the controller was to; again where it, or the controller that it asked, has died.

        What it printed.
        """
        is_beside = not self.has_died
        while True:
            environment = {**self.environment(), **self._faults()}
            command = [sys.executable, "-m", "tests.faults.launcher", *arguments]
            done = subprocess.run(
                command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
            if is_beside and self.has_died:
                self.revive()
                continue
            if done.returncode != -signal.SIGKILL:
                return done.stdout + done.stderr
            self.kills, self.armed = self.kills + 1, ""

    def _faults(self) -> dict[str, str]:
        return {"CUMULUS_TEST_KILL": self.armed, "CUMULUS_TEST_CLOCK": str(self.clock_s or "")}

    def runs(self, name: str) -> int:
        """How often the job's app has begun, by its own word: the ledger lies outside of all that the product ever clears."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return sum(line.split()[:2] == ["begin", name] for line in lines)

    @property
    def has_died(self) -> bool:
        """Whether there is no controller."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """End the controller as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def revive(self) -> None:
        """Start the controller again if it has died, which it may have by signal 9 only."""
        if self.has_died:
            assert self.process is None or self.process.returncode == -signal.SIGKILL, self.log()
            self.kills += self.process is not None
            self.start()

    def stop(self) -> float:
        """End the controller in order; the seconds that it took."""
        assert self.process is not None
        begin = time.monotonic()
        self.process.terminate()
        assert self.process.wait(30) == 0, self.log()
        return time.monotonic() - begin

    def call(self, ask: Callable[[Client], T]) -> T:
        """Ask the controller, again after each of its deaths."""
        while True:
            self.revive()
            running = running_controller(self.settings.home)
            try:
                if running is not None:
                    return ask(Client(running.url))
            except Unreachable:
                wait(lambda: self.has_died or self._answers(), START_LIMIT_S, self.log)

    def submit(
        self,
        name: str,
        *,
        seconds: float = 0,
        code: int = 0,
        flavor: str = "light",
        owner: str = "ada",
        arrives: bool = True,
        after: int | None = None,
        workflow: str = "",
        **more: Any,
    ) -> int:
        """Submit a job that writes into the ledger. After a crash: again, unless it was taken.

        ``arrives``: its files are there at once.
        """
        form = {"name": name, "ledger": str(self.ledger), "seconds": str(seconds), "code": str(code), **more}

        def ask(client: Client) -> int:
            if known := self.job_of(name):
                return int(known.id)
            return client.start(owner, "ledger_1.0", flavor, form, description=name, after=after, workflow=workflow).job_id

        number = self.numbers[name] = self.call(ask)
        if arrives:
            self.arrive(name)
        return number

    def request(self, method: str, path: str, **form: str) -> str:
        """One request of the desktop client; the answer's text."""

        return self.call(lambda client: _asked(client, method, path, form))

    def ask(self, path: str) -> str:
        """One request, once. Raises Unreachable where the controller dies of it."""
        running = running_controller(self.settings.home)
        assert running is not None
        return _asked(Client(running.url), "GET", path, {})

    def cancel(self, name: str, owner: str = "ada") -> None:
        """End a job; again where the controller dies meanwhile."""
        job = self.job_of(name)
        assert job is not None
        while not JobState(self.state_of(name)).is_final:
            self.request("GET", f"/cancel/{owner}/{job.id}")

    def crash_machine(self, name: str) -> None:
        """The machine of the job vanishes, with all that runs on it."""
        self.crash(self.machine(name))

    def crash(self, machine: Path) -> None:
        """A machine vanishes, with all that runs on it."""
        for process in psutil.process_iter():
            if mentions(process, machine):
                with suppress(psutil.Error):
                    process.kill()
        shutil.rmtree(machine, ignore_errors=True)

    def arrive(self, name: str) -> None:
        """Say that the job's files are there."""
        job = self.job_of(name)
        assert job is not None
        self.storage.folder(job.folder).mark_arrived()

    def job_of(self, name: str) -> Job | None:
        """The job's row, as it is now."""
        with self.rows():
            found: Job | None = Job.get_or_none(Job.description == name)
            return found or Job.get_or_none(Job.id == self.numbers.get(name, 0))  # a deleted one has lost its name

    def state_of(self, name: str) -> str:
        """Where the job stands; "" where there is none."""
        job = self.job_of(name)
        return "" if job is None else str(job.state)

    def reach(self, name: str, *states: JobState, limit_s: float = LIMIT_S) -> str:
        """Wait until the job is in one of the states, or final; the controller is started again when it dies."""

        def there() -> bool:
            self.revive()
            state = self.state_of(name)
            return state in states or (state != "" and JobState(state).is_final)

        wait(there, limit_s, self.log)
        return self.state_of(name)

    def settle(self, limit_s: float = LIMIT_S) -> None:
        """Wait until nothing is at work any more."""

        def settled() -> bool:
            self.revive()
            with self.rows() as database:
                left = "SELECT count(*) FROM job WHERE state NOT IN ('done','failed','cancelled','archived','deleted')"
                living = "SELECT count(*) FROM worker WHERE state <> 'deleted'"
                return all(database.execute_sql(sql).fetchone()[0] == 0 for sql in (left, living))

        wait(settled, limit_s, self.log)
        time.sleep(0.2)  # it may be dying of the very last change
        self.revive()

    @contextmanager
    def rows(self) -> Iterator[Any]:
        """The database, for looking."""
        database = open_database(self.settings.database)
        try:
            yield database
        finally:
            database.close()

    def machine(self, name: str) -> Path:
        """The pretended machine of the job's present attempt."""
        job = self.job_of(name)
        assert job is not None
        return self.settings.home / "local" / (f"job-{job.id}" if job.attempt < 2 else f"job-{job.id}-{job.attempt}")

    def log(self) -> str:
        """What the controllers said."""
        return self.whole_log()[-6000:]

    def whole_log(self) -> str:
        """All that they said."""
        return (self.root / "log").read_text(errors="replace")

    def end(self) -> None:
        """Leave nothing, whatever the test has come to."""
        self.kill()
        for process in psutil.process_iter():
            if process.pid != os.getpid() and mentions(process, self.root):
                with suppress(psutil.NoSuchProcess):  # killing the others has ended it
                    process.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def _answers(self) -> bool:
        running = running_controller(self.settings.home)
        return (
            running is not None and self.process is not None and running.pid == self.process.pid and Client(running.url).healthy()
        )


def _asked(client: Client, method: str, path: str, form: dict[str, str]) -> str:
    try:
        return httpx.request(method, f"{client.url}{path}", data=form or None, timeout=30, trust_env=False).text
    except httpx.TransportError as error:
        raise Unreachable(str(error)) from None


def wait(true: Callable[[], bool], limit_s: float, words: Callable[[], str]) -> None:
    """Return when the condition holds; fail with the controller's words after the limit."""
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come true within {limit_s:.0f} s\n{words()}")
        time.sleep(0.05)


def mentions(process: psutil.Process, path: Path) -> bool:
    """Whether a process has to do with a folder (and not with job-1-2 beside job-1): by its command line or where it works."""
    named = re.compile(re.escape(str(path)) + r"(?![\w.-])")
    try:
        return any(map(named.search, process.cmdline())) or Path(process.cwd()).is_relative_to(path)
    except (psutil.Error, OSError):
        return False
