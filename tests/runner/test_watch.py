"""Programs that do nothing any more, or too much: seen with a clock that the test turns, and with real programs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.conftest import Worker, runs, shared, wait_until

from cumulus_runner.family import Deeds, Family, read_process  # isort: skip
from cumulus_runner.watch import STALLED, Limits, Watch, footprint  # isort: skip

NOON = 1_700_000_000.0


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def __call__(self) -> float:
        return self.passed_s

    def wall(self) -> float:
        return NOON + self.passed_s


class Told(Family):
    """A family whose deeds the test tells."""

    deeds_now = Deeds()

    def deeds(self) -> Deeds:
        deeds, self.deeds_now = self.deeds_now, Deeds()
        return deeds

    def told(self) -> str:
        return "sh: sleeping"


class Lab:
    """A watch with a limit of ten minutes over a program of which the test decides what it does."""

    def __init__(self, place: Path, stall_s: float = 600.0) -> None:
        self.place = place
        self.clock = Clock()
        self.family = Told(pid=0, temp="/nowhere")
        self.log: list[str] = []
        self.away = False
        self.watch = Watch(
            Limits(stall_s), "Comet", self.family, [str(place)], self.log.append, lambda: self.away, self.clock, self.clock.wall
        )
        self.pass_time(self.watch.due_s())  # the start itself is a sign of life

    def pass_time(self, seconds: float) -> str:
        """Let time pass as a runner does that looks whenever it is due; the first outcome, and what is left of the time."""
        end = self.clock.passed_s + seconds
        while self.clock.passed_s < end:
            self.clock.passed_s = min(end, self.clock.passed_s + max(self.watch.due_s(), 0.01))
            if outcome := self.watch.look():
                return outcome
        return ""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_program_that_does_nothing_is_suspected_at_half_time_and_then_ended(lab: Lab) -> None:
    assert lab.pass_time(290) == ""
    assert lab.log == []
    assert lab.pass_time(30) == ""
    assert lab.log == ["Comet seems to hang since 2023-11-14 22:13:30 UTC: no CPU time, no output and no log line"]
    assert lab.pass_time(270) == ""
    assert lab.pass_time(30) == STALLED
    assert len(lab.log) == 1
    assert "did nothing for 600 s" in lab.watch.why(STALLED)


def test_a_sign_of_life_begins_the_time_anew_and_is_told(lab: Lab) -> None:
    lab.pass_time(400)
    lab.family.deeds_now = Deeds(cpu_s=1.0)
    assert lab.pass_time(400) == ""
    assert lab.log[1] == "Comet goes on"
    assert lab.pass_time(250) == STALLED


@pytest.mark.parametrize("sign", ["cpu", "written", "line", "file"])
def test_each_sign_of_life_counts_alone(lab: Lab, sign: str) -> None:
    for number in range(30):
        if sign == "cpu":
            lab.family.deeds_now = Deeds(cpu_s=0.5)
        elif sign == "written":
            lab.family.deeds_now = Deeds(written=1)
        elif sign == "line":
            lab.watch.heard()
        else:
            (lab.place / str(number)).touch()
        assert lab.pass_time(100) == ""
    assert lab.log == []


def test_the_clockwork_of_an_idle_runtime_is_no_sign_of_life(lab: Lab) -> None:
    outcome = ""
    while not outcome and lab.clock.passed_s < 700:
        lab.family.deeds_now = Deeds(cpu_s=0.01)
        outcome = lab.pass_time(10)
    assert outcome == STALLED


def test_a_program_that_waits_for_a_storage_that_is_away_is_not_to_blame(lab: Lab) -> None:
    lab.away = True
    assert lab.pass_time(5000) == ""
    lab.away = False
    assert lab.pass_time(590) == ""
    assert lab.pass_time(20) == STALLED


def test_a_machine_that_stood_still_was_no_fault_of_the_program(lab: Lab) -> None:
    lab.clock.passed_s += 100_000
    assert lab.watch.look() == ""
    assert lab.pass_time(500) == ""


def test_no_limit_means_no_look(tmp_path: Path) -> None:
    assert Watch(Limits(), "Comet", Told(0, ""), [], print).due_s() == float("inf")


def test_a_footprint_changes_with_any_file_below_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    before = footprint([str(tmp_path)])
    (tmp_path / "in" / "new").write_text("x")
    assert footprint([str(tmp_path)]) != before
    assert footprint([str(tmp_path / "absent")]) == (0, 0, 0)


@pytest.fixture
def started() -> Iterator["list[subprocess.Popen[str]]"]:
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        with subprocess.Popen.__enter__(process):
            process.kill()


def start(started: "list[subprocess.Popen[str]]", text: str, temp: Path) -> Family:
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(temp)}
    process = subprocess.Popen(["sh", "-c", text], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
    started.append(process)
    return Family(process.pid, str(temp))


def test_a_family_knows_its_children_and_the_daemon_that_left_it(started: "list[subprocess.Popen[str]]", tmp_path: Path) -> None:
    """The daemon has another session and another parent; only its environment tells whose it is."""
    family = start(started, "setsid sh -c 'sleep 61 & echo $!'; sleep 62", tmp_path)
    assert started[0].stdout is not None
    daemon = int(started[0].stdout.readline())
    wait_until(lambda: sorted(one.name for one in family.members()) == ["sh", "sleep", "sleep"])
    assert daemon in {one.pid for one in family.members()}
    assert family.tasks() == 3
    assert "sleep: sleeping" in family.told()
    family.kill()
    wait_until(lambda: not family.members())
    assert not runs(daemon)


def test_the_work_of_children_that_have_ended_counts(started: "list[subprocess.Popen[str]]", tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    spin = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.3: pass'"
    family = start(started, f"echo up; read x < fifo; {spin}; sleep 61".replace("fifo", str(tmp_path / "fifo")), tmp_path)
    family.deeds()
    with (tmp_path / "fifo").open("w"):
        pass
    wait_until(lambda: "sleep" in {one.name for one in family.members()})
    assert family.deeds().cpu_s >= 0.2
    assert family.deeds() == Deeds()


def test_a_process_with_a_strange_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "stat").write_text(f"5 (a) R (b) S 1 5 4 {'0 ' * 7}10 20 3 4 0 0 7 0 99 0\n")
    found = read_process(5, str(tmp_path))
    assert found is not None
    assert (found.name, found.state, found.session, found.ticks, found.threads, found.start) == ("a) R (b", "S", 4, 37, 7, 99)
    assert read_process(6, str(tmp_path)) is None


def test_an_app_that_hangs_is_ended_with_its_last_lines(worker: Worker) -> None:
    result = worker.run("echo at work; sleep 61", app="Comet", stall_timeout_s=0.6)
    assert (result["stage"], result["exit_code"] != 0) == ("stalled", True)
    assert "it did nothing for" in result["message"]
    assert "sleep: sleeping" in result["message"]
    assert result["message"].endswith("last lines: at work")
    assert " - Comet seems to hang since " in worker.log


def test_an_app_that_ignores_the_request_to_end_is_ended_all_the_same(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.order("trap '' TERM; echo $$; while :; do read x < pipe; done", stall_timeout_s=0.4)
    with_pipe = (worker.job / ".cumulus.cmd").read_text()
    (worker.job / ".cumulus.cmd").write_text("mkfifo pipe; " + with_pipe)
    worker.start()
    wait_until((worker.job / ".cumulus.result").exists, limit_s=25)
    assert worker.result["stage"] == "stalled"
    assert not runs(int(worker.lines[0]))


@pytest.mark.parametrize(
    "work",
    [
        f"{sys.executable} -c 'import time\nwhile time.monotonic() < {{end}}: pass'",
        "sh -c '(while [ $(date +%s) -lt {wall} ]; do :; done) & wait'",
        "while [ $(date +%s) -lt {wall} ]; do echo x >> file; sleep 0.05; done",
        "while [ $(date +%s) -lt {wall} ]; do echo x; sleep 0.05; done",
    ],
    ids=["busy", "busy child", "writes", "logs"],
)
def test_an_app_that_does_anything_is_left_alone(worker: Worker, work: str) -> None:
    command = work.format(end=time.monotonic() + 2, wall=int(time.time()) + 3)
    result = worker.run(command, stall_timeout_s=0.8)
    assert (result["stage"], result["message"]) == ("done", "")


def test_a_converter_that_hangs_is_ended_and_named(worker: Worker) -> None:
    (worker.data / "b.mgf").write_text("BEGIN IONS\nPEPMASS=500.25\nCHARGE=2+\n100.1 1\nEND IONS\n")
    convert = ["sh", "-c", "echo reading; sleep 61", "sh", "{source}", "{folder}/{name}"]
    result = worker.run("echo never", shared("b.mgf", "b.mzML", convert), stall_timeout_s=0.4)
    assert result["stage"] == "convert"
    assert "b.mgf could not be converted" in result["message"]
    assert "it did nothing for" in result["message"]
    assert "reading" in result["message"]
    assert "sh, which converts b.mgf, seems to hang since" in worker.log


def test_too_many_processes_at_once_end_the_app(worker: Worker) -> None:
    command = "i=0; while [ $i -lt 60 ]; do sleep 61 & i=$((i + 1)); done; echo $!; wait"
    result = worker.run(command, max_tasks=40)
    assert (result["stage"], result["exit_code"] != 0) == ("app", True)
    assert "more than 40 processes and threads" in result["message"]
    assert not runs(int(worker.lines[0]))


def test_what_goes_on_multiplying_after_the_app_s_end_is_a_failure(worker: Worker) -> None:
    """As the fork bomb :(){ :|:& };: does, whose first process ends well at once; this one stops at 200 by itself."""
    bomb = "(i=0; while [ $i -lt 200 ]; do sleep 61 & i=$((i + 1)); sleep 0.002; done) & echo begun"
    result = worker.run(bomb, max_tasks=1000)
    assert result["stage"] == "app"
    assert "went on starting them" in result["message"]


def test_a_few_processes_left_behind_are_no_failure(worker: Worker) -> None:
    assert worker.run("sleep 61 & sleep 62 & echo $!", max_tasks=1000)["stage"] == "done"
    assert not runs(int(worker.lines[0]))


def test_a_daemon_with_its_outputs_closed_ends_with_the_app(worker: Worker) -> None:
    command = "setsid sh -c 'echo $$ > pid; trap \"\" TERM HUP; exec sleep 61' < /dev/null > /dev/null 2>&1 & "
    assert worker.run(f"{command} while [ ! -s pid ]; do sleep 0.01; done")["stage"] == "done"
    wait_until(lambda: not runs(int((worker.job / "output" / "pid").read_text())))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_kernel_limits_what_the_app_s_user_may_start(worker: Worker, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    worker.options += ["--user", "nobody"]
    worker.run("grep -o 'Max processes *[0-9]*' /proc/self/limits", max_tasks=4096)
    assert worker.lines[0].split()[-1] == "4608"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_fork_bomb_is_the_app_s_fault_and_nothing_of_it_stays(worker: Worker, tmp_path: Path) -> None:
    """A real one: the kernel holds it at some ninety processes of its user."""
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    worker.options += ["--user", "nobody"]
    flood = "while :; do sleep 61 & done"  # the first shell meets the limit, too: it might end well before by itself
    result = worker.run(f"bomb() {{ bomb | bomb & }}; bomb; {flood}", max_tasks=80)
    assert (result["stage"], result["exit_code"] != 0) == ("app", True)
    assert "more than 80 processes and threads" in result["message"]  # seen by the watch, or told by its shell
    wait_until(lambda: not Family(-1, str(worker.work / "temp")).members())


def test_the_members_of_a_control_group_are_known_by_it(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n99999999\n")
    strangers = frozenset({os.getppid()})
    assert [one.pid for one in Family(-1, "", str(tmp_path), strangers, whole=True).members()] == [os.getpid()]
    assert Family(-1, "/nowhere", str(tmp_path), strangers).members() == []
    assert Family(-1, "", str(tmp_path / "absent"), whole=True).members() == []


def test_an_app_that_is_held_still_hangs(worker: Worker) -> None:
    result = worker.run("kill -STOP $$", stall_timeout_s=0.4)
    assert result["stage"] == "stalled"
    assert "suspended" in result["message"]
