"""The administrator's commands answer the same beside a controller, over its Unix socket, and without one."""

import contextlib
import re
import time
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from cumulus_client import Refused, Unreachable
from cumulus_client.workspaces import MachineRemoval, Workspaces
from server.api.v1.direct import DirectCaller
from server.app import Controller, make_module
from server.catalog.flavors import Flavor
from server.cli.main import main
from server.db.models import Job, Sighting, Worker
from server.db.transitions import Change, create
from server.states import JobState, WorkerState
from tests.api.v1.local import client_of
from tests.cli.beside import run, running, use
from tests.conftest import submission

YEAR_S = 365 * 24 * 3600
FLAVOR = Flavor("m1.4xlarge", 1, 1, 1)
# What a controller alone changes, and what time does.
DIFFERENT = (
    (r"no controller runs: nothing begins until one does \(`cumulus serve`\)\n", ""),
    (r'"(controller|waited_s|expected_start|age_s|free_bytes|used_bytes)": [^,\n}]+', r'"\1": …'),
    (r"timestamp=.*\n", ""),  # the controller's own log
    (r"job-3-[0-9a-f]{12}", "job-3-…"),
    (r'"bytes": [0-9]+', '"bytes": …'),
    (r"[0-9.]+ of [0-9.]+ GB used, [0-9.]+ GB free", "…"),
    (r"for [0-9]+ s\b|\b[0-9]+ s\b", "… s"),
    (r"held until [^,]+", "held until …"),
    (r"job-7\.[0-9TZ.-]+", "job-7.…"),
    (r'"at": [0-9.]+', '"at": …'),
    (r"20[0-9]{6}T[0-9]{6}[0-9a-f-]*|[0-9a-f]{32}", "…"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.services.machines.service.APART_S", 0.0)


@pytest.fixture
def furnished(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Controller:
    """With a job at work, one that waits, and one of last year."""
    use(controller, monkeypatch)
    running, waiting, ended = (controller.jobs.submit(*submission()) for _ in range(3))
    Job.update(state=JobState.RUNNING, attempt=1).where(Job.id == running.id).execute()
    Job.update(state=JobState.QUEUED).where(Job.id == waiting.id).execute()
    past = ended.created - YEAR_S
    Job.update(state=JobState.DONE, outcome=JobState.DONE, ended=past).where(Job.id == ended.id).execute()
    fields = {"name": "job-1", "job_id": running.id, "flavor": running.flavor, "weight": 1}
    create(Worker, Change(1.0), state=WorkerState.BUSY, **fields)
    return controller


def nothing(_controller: Controller) -> None:
    """Needs no more."""


def a_machine_of_nobody(controller: Controller) -> None:
    (controller.settings.home / "local" / "job-7").mkdir(exist_ok=True)


def a_workspace(controller: Controller) -> None:
    module = make_module(controller.settings, controller.cloud)
    if "job-7" not in module.store.names():
        module.apply("job-7", controller.cloud.terraform_vars("job-7", FLAVOR), 60)


def a_broken_off_lock(controller: Controller) -> None:
    a_workspace(controller)
    state = make_module(controller.settings, controller.cloud).store.state_file("job-7")
    (state.parent / ".terraform.tfstate.lock.info").write_text('{"Operation": "OperationTypeApply", "Who": "root@here"}')


def something_in_the_trash(controller: Controller) -> None:
    if "job-3" in run(controller, "storage", "trash", beside=False).stdout:
        return
    Sighting.delete().execute()  # it may have been restored before
    Job.update(state=JobState.DONE, ended=time.time() - YEAR_S).where(Job.id == 3).execute()
    folder = controller.storage.folder(Job.get_by_id(3).folder).path
    (folder / "output").mkdir(exist_ok=True)
    (folder / "output" / "result.txt").write_text("12345")
    assert run(controller, "storage", "clean", "--yes", beside=False).exit_code == 0


COMMANDS: tuple[tuple[str, Callable[[Controller], None]], ...] = (
    ("queue", nothing),
    ("queue --json", nothing),
    ("drain --reason disks", nothing),
    ("drain", nothing),
    ("resume", nothing),
    ("priority 2 7", nothing),
    ("priority 1 7", nothing),
    ("priority 99 7", nothing),
    ("hold 1 --hours 2", nothing),
    ("hold 1 --release", nothing),
    ("hold 2", nothing),
    ("hold 99", nothing),
    ("orphans", a_machine_of_nobody),
    ("orphans --json", a_machine_of_nobody),
    ("orphans --delete", a_machine_of_nobody),
    ("orphans --delete --json", nothing),
    ("quota", nothing),
    ("quota --json", nothing),
    ("state", a_workspace),
    ("state --json", a_workspace),
    ("state --drift --json", a_workspace),
    ("state destroy job-7", a_workspace),
    ("state destroy job-7 --json", a_machine_of_nobody),
    ("state destroy job-77", nothing),
    ("state destroy job-1", nothing),
    ("state destroy canary-1", nothing),
    ("state destroy ../x", nothing),
    ("state unlock job-7", a_broken_off_lock),
    ("state unlock job-7 --json", a_workspace),
    ("state unlock job-77", nothing),
    ("state forget job-7", a_workspace),
    ("state forget job-7 --json", a_workspace),
    ("state forget job-1 --force", a_workspace),
    ("state forget job-77", nothing),
    ("flavors", nothing),
    ("flavors --json", nothing),
    ("flavors sync", nothing),
    ("flavors sync --write --json", nothing),
    ("storage usage", nothing),
    ("storage usage --json", nothing),
    ("storage clean --dry-run", nothing),
    ("storage clean --dry-run --json", nothing),
    ("storage clean", nothing),
    ("storage clean --yes --json", nothing),
    ("storage trash", something_in_the_trash),
    ("storage trash --json", something_in_the_trash),
    ("storage restore 3", something_in_the_trash),
    ("storage restore 99", nothing),
    (f"storage restore {'9' * 1001}", nothing),
    ("snapshot list", nothing),
    ("snapshot list --json", nothing),
    ("snapshot rollback", nothing),
    ("snapshot prune", nothing),
)


def answer(controller: Controller, words: list[str], *, beside: bool) -> tuple[int, str]:
    done = run(controller, *words, beside=beside)
    text = done.stdout + done.stderr
    for pattern, instead in DIFFERENT:
        text = re.sub(pattern, instead, text)
    return done.exit_code, text


@pytest.mark.parametrize(("command", "before"), COMMANDS, ids=[f"{command}, {one.__name__}" for command, one in COMMANDS])
def test_a_command_answers_the_same(furnished: Controller, command: str, before: Callable[[Controller], None]) -> None:
    before(furnished)
    with_one = answer(furnished, command.split(), beside=True)
    if "--yes" in command:
        Job.update(state=JobState.DONE).where(Job.id == 3).execute()
        (furnished.storage.folder(Job.get_by_id(3).folder).path / "output").mkdir()
    before(furnished)
    assert answer(furnished, command.split(), beside=False) == with_one


def test_a_plan_is_carried_out_once(furnished: Controller) -> None:
    with client_of(furnished) as cumulus:
        with pytest.raises(Refused, match="that plan is not known any more") as refused:
            cumulus.storage.clean("0" * 32)
        assert (refused.value.problem.status, refused.value.problem.field) == (404, "plan")
        plan = cumulus.storage.plan()
        assert [one.job_id for one in cumulus.storage.clean(plan.plan).removed] == [3]
        with pytest.raises(Refused, match="not known any more"):
            cumulus.storage.clean(plan.plan)


def test_beside_a_controller_its_socket_is_asked_and_not_the_database(
    furnished: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("the database is not asked")

    monkeypatch.setattr(DirectCaller, "call", refuse)
    found = run(furnished, "queue", beside=True)
    assert (found.exit_code, "no controller runs" in found.stdout) == (0, False)
    with pytest.raises(AssertionError):
        run(furnished, "queue", beside=False)


def test_a_controller_that_ends_while_a_machine_goes_is_not_needed(
    furnished: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command began the removal over the socket; when nobody answers there any more, it carries it out itself."""
    create(Worker, Change(1.0), name="pool-1", flavor="m1.4xlarge", weight=1, attempt=0, state=WorkerState.READY)
    (furnished.settings.home / "local" / "pool-1").mkdir()
    with contextlib.ExitStack() as controller:
        controller.enter_context(running(furnished))
        ask = Workspaces.removal
        asked: list[str] = []

        def ending(self: Workspaces, name: str) -> MachineRemoval:
            asked.append(name)
            if len(asked) == 2:
                controller.close()
                raise Unreachable("the connection is closed")  # as the kernel does when a process ends
            return ask(self, name)

        monkeypatch.setattr(Workspaces, "removal", ending)
        done = CliRunner().invoke(main, ["state", "destroy", "pool-1"], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, "pool-1 is gone\n"), done.stderr
    assert not (furnished.settings.home / "local" / "pool-1").exists()
    assert len(asked) > 2
