"""What exists for nobody, on the local cloud with real terraform."""

from pathlib import Path

import pytest

from server.app import Controller, make_fleet
from server.catalog.flavors import Flavor
from server.db.models import Change, Worker, create
from server.engine.duties.sweeper import Sweeper
from server.states import WorkerState
from server.workers.clouds.local import LocalCloud

FLAVOR = Flavor("m1.4xlarge", 1, 1, 1)


@pytest.fixture
def sweeper(controller: Controller) -> Sweeper:
    return Sweeper(controller.cloud, controller.fleet, controller.storage.jobs)


def make_machine(controller: Controller, worker: str) -> Path:
    """A machine by terraform, without a row; returns its folder."""
    fleet = make_fleet(controller.settings, controller.cloud)
    fleet._module.apply(worker, controller.cloud.terraform_vars(worker, FLAVOR), 60)
    return controller.settings.home / "local" / worker


def make_row(worker: str, state: WorkerState) -> Worker:
    row: Worker = create(Worker, Change(1.0), name=worker, flavor=FLAVOR.name, weight=1, state=state)
    return row


def kinds(sweeper: Sweeper) -> set[tuple[str, str]]:
    return {(one.kind, one.worker) for one in sweeper.inspect().orphans}


def test_a_machine_without_a_row_is_removed_at_the_second_look(controller: Controller, sweeper: Sweeper) -> None:
    machine = make_machine(controller, "job-7")
    assert kinds(sweeper) == {("machine", "job-7"), ("workspace", "job-7")}
    assert len(sweeper.sweep().orphans) == 2
    assert machine.is_dir()
    sweeper.sweep()
    assert not machine.exists()
    assert sweeper.inspect().orphans == ()
    assert controller.fleet.workspaces() == []
    assert sweeper.removed == 2


def test_a_machine_of_a_job_that_only_the_storage_knows_is_left_alone(controller: Controller, sweeper: Sweeper) -> None:
    """As where an older database was put in place."""
    machine = make_machine(controller, "job-7")
    folder = controller.storage.jobs / "Job_7_ada_probe_1.0_1700000000"
    folder.mkdir()
    sweeper.sweep()
    sweeper.sweep()
    assert machine.is_dir()
    assert sweeper.inspect().orphans == ()
    folder.rmdir()
    sweeper.sweep()
    sweeper.sweep()
    assert not machine.exists()


def test_a_machine_that_terraform_forgot_is_removed_by_its_tag(controller: Controller, sweeper: Sweeper) -> None:
    machine = controller.settings.home / "local" / "job-8"
    machine.mkdir()
    sweeper.sweep()
    sweeper.sweep()
    assert not machine.exists()


def test_a_workspace_whose_machine_is_gone_is_removed(controller: Controller, sweeper: Sweeper) -> None:
    make_machine(controller, "job-9").rmdir()
    assert kinds(sweeper) == {("workspace", "job-9")}
    sweeper.sweep()
    sweeper.sweep()
    assert controller.fleet.workspaces() == []


def test_variables_that_a_killed_controller_left_are_removed(controller: Controller, sweeper: Sweeper) -> None:
    folder = controller.settings.home / "terraform" / "local-worker" / "vars"
    folder.mkdir(parents=True)
    (folder / "job-4.tfvars.json").write_text("{}")
    sweeper.sweep()
    sweeper.sweep()
    assert list(folder.iterdir()) == []


def test_half_a_state_is_set_aside_for_whoever_wants_to_look(controller: Controller, sweeper: Sweeper) -> None:
    machine = make_machine(controller, "job-9")
    terraform = controller.settings.home / "terraform" / "local-worker"
    state = terraform / "state" / "workspaces" / "job-9" / "terraform.tfstate"
    state.write_text(state.read_text()[:100])
    sweeper.sweep()
    sweeper.sweep()
    assert not machine.exists()
    assert controller.fleet.workspaces() == []
    assert len(list((terraform / "broken").iterdir())) == 1


def test_what_a_row_accounts_for_stays(controller: Controller, sweeper: Sweeper) -> None:
    for number, state in enumerate(WorkerState, 1):
        if state is not WorkerState.DELETED:
            (controller.settings.home / "local" / f"job-{number}").mkdir()
            make_row(f"job-{number}", state)
    for _ in range(3):
        assert sweeper.sweep().orphans == ()
    assert len(controller.cloud.resources()) == len(WorkerState) - 1


def test_an_orphan_that_is_gone_between_two_looks_starts_anew(controller: Controller, sweeper: Sweeper) -> None:
    machine = controller.settings.home / "local" / "job-8"
    machine.mkdir()
    sweeper.sweep()
    make_row("job-8", WorkerState.BUSY)
    sweeper.sweep()
    Worker.update(state=WorkerState.DELETED).execute()
    sweeper.sweep()
    assert machine.is_dir()
    sweeper.sweep()
    assert not machine.exists()


def test_workspaces_of_others_are_left_to_them(controller: Controller, sweeper: Sweeper) -> None:
    make_machine(controller, "canary-3").rmdir()
    for _ in range(3):
        assert sweeper.sweep().orphans == ()
    assert controller.fleet.workspaces() == ["canary-3"]


def test_machines_of_another_installation_are_never_seen(controller: Controller, tmp_path: Path, sweeper: Sweeper) -> None:
    other = LocalCloud(controller.settings.model_copy(update={"home": tmp_path / "other"}), "c000000000000")
    other.start()
    machine = tmp_path / "other" / "local" / "job-1"
    machine.mkdir()
    for _ in range(3):
        assert sweeper.sweep().orphans == ()
    assert machine.is_dir()


def test_a_worker_whose_machine_is_not_listed_is_missing(controller: Controller, sweeper: Sweeper) -> None:
    for number, state in enumerate((WorkerState.CREATING, WorkerState.BUSY, WorkerState.HELD, WorkerState.DELETING), 1):
        make_row(f"job-{number}", state)
    assert sweeper.inspect().missing == ("job-2", "job-3")
