"""What every cloud must do, whichever it is. A driver's own test module subclasses :class:`Conformance` and gives a ``driven``.

Each test is one promise of ``server.workers.clouds.base`` or ``capabilities``. See docs/adding-a-cloud.md.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.catalog.flavors import Flavor
from server.settings import CHECKOUT, Settings
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import (
    HasConsole,
    HasFlavors,
    HasMemoryUse,
    HasPrewarming,
    HasQuota,
    HasResumption,
)
from server.workers.terraform.module import TerraformModule

FLAVOR = Flavor("m1.4xlarge", 1, 1, 1)
VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Driven:
    """A driver with a promoted snapshot to make machines from. ``make(worker)``: a machine of its installation comes to be.

    ``make_foreign(worker)``: a machine of the same name that belongs to another installation on the same cloud.
    """

    cloud: Cloud
    settings: Settings
    make: Callable[[str], object]
    make_foreign: Callable[[str], object]


class Conformance:
    """The suite. Subclasses add a fixture ``driven``."""

    def test_the_registry_makes_it_for_its_name(self, driven: Driven) -> None:
        made = registry.make_cloud(driven.settings.model_copy(update={"cloud": driven.cloud.name}))
        assert type(made) is type(driven.cloud)

    def test_problems_are_single_lines(self, driven: Driven) -> None:
        lines = driven.cloud.problems()
        assert [line for line in lines if not line.strip() or "\n" in line] == []

    def test_its_worker_module_declares_what_it_is_given_and_is_given_what_it_needs(self, driven: Driven, tmp_path: Path) -> None:
        cloud = driven.cloud
        text = (CHECKOUT / "infra" / "terraform" / cloud.name / "worker" / "variables.tf").read_text()
        declared = {name: "default" in body for name, body in VARIABLE.findall(text)}
        given = {*cloud.terraform_vars("job-1", FLAVOR), *cloud.layout("job-1", tmp_path / "Job_1").job_variables}
        assert given - declared.keys() == set()
        assert {name for name, has_default in declared.items() if not has_default} - given == set()

    def test_the_shared_variables_say_whose_machine_it_is(self, driven: Driven) -> None:
        given = driven.cloud.terraform_vars("job-1", FLAVOR)
        shared = ("worker", "flavor", "cpus", "snapshot")
        assert [given[name] for name in shared] == ["job-1", FLAVOR.name, FLAVOR.cpus, driven.cloud.images.current()]

    def test_an_administrator_s_terraform_needs_no_more_than_text(self, driven: Driven) -> None:
        found = driven.cloud.plain_terraform_env()
        assert [name for name, value in found.items() if not isinstance(value, str)] == []
        assert "TF_REATTACH_PROVIDERS" not in found

    def test_terraform_s_output_is_left_alone_where_nothing_is_to_be_translated(self, driven: Driven) -> None:
        assert driven.cloud.translate_output("Error: it is full\n") == "Error: it is full\n"

    def test_a_job_s_place_on_a_worker_is_complete(self, driven: Driven, tmp_path: Path) -> None:
        layout = driven.cloud.layout("job-1", tmp_path / "Job_1")
        assert [folder for folder in (layout.work_dir, layout.job_dir) if not Path(folder).is_absolute()] == []
        commands = (layout.start_command, layout.stop_command, layout.status_command, layout.shell)
        assert [command for command in commands if not command or not all(isinstance(word, str) for word in command)] == []
        assert layout.connection in ("ssh", "shell")

    def test_nothing_is_there_before_a_machine_is_made(self, driven: Driven) -> None:
        assert driven.cloud.resources() == []
        assert driven.cloud.resources("job-1") == []
        assert not driven.cloud.alive("job-1")

    def test_a_machine_is_listed_alive_and_by_its_worker(self, driven: Driven) -> None:
        driven.make("job-1")
        driven.make("job-2")
        (one,) = [found for found in driven.cloud.resources("job-1") if found.kind == "machine"]
        assert (one.worker, one.alive) == ("job-1", True)
        assert {found.worker for found in driven.cloud.resources()} == {"job-1", "job-2"}
        assert driven.cloud.alive("job-1")

    def test_what_was_deleted_is_gone_and_may_be_deleted_again(self, driven: Driven) -> None:
        driven.make("job-1")
        driven.make("job-2")
        found = driven.cloud.resources("job-1")
        for resource in found:
            driven.cloud.delete(resource)
        for resource in found:
            driven.cloud.delete(resource)
        assert driven.cloud.resources("job-1") == []
        assert not driven.cloud.alive("job-1")
        assert driven.cloud.alive("job-2")

    def test_the_machine_of_another_installation_is_none_of_ours(self, driven: Driven) -> None:
        driven.make_foreign("job-1")
        assert driven.cloud.resources() == []
        assert not driven.cloud.alive("job-1")

    def test_it_knows_what_machines_are_made_from(self, driven: Driven) -> None:
        images = driven.cloud.images
        promoted = [one.name for one in images.template().snapshots() if one.promoted]
        assert promoted == [images.current()]
        assert isinstance(images.check(), str)
        assert isinstance(images.starts_jobs_at_boot(), bool)
        assert isinstance(images.has_program("sh"), bool)
        assert isinstance(images.smoke_results().are_known, bool)

    def test_a_machine_that_knows_its_job_has_variables_for_it(self, driven: Driven, tmp_path: Path) -> None:
        if driven.cloud.images.starts_jobs_at_boot():
            assert driven.cloud.layout("job-1", tmp_path / "Job_1").job_variables

    def test_a_quota_has_names_and_room_for_a_small_machine(self, driven: Driven) -> None:
        cloud = driven.cloud
        if not isinstance(cloud, HasQuota):
            pytest.skip("it has no quota")
        assert len({one.name for one in cloud.quota.listed()}) == len(cloud.quota.listed()) > 0
        cloud.quota.require_room(FLAVOR)

    def test_its_flavors_have_names_and_sizes(self, driven: Driven) -> None:
        cloud = driven.cloud
        if not isinstance(cloud, HasFlavors):
            pytest.skip("it has no flavors of its own")
        found = cloud.flavors.listed()
        assert [one for one in found if not one.name or one.cpus < 1 or one.memory_gb <= 0] == []

    def test_the_console_of_a_machine_that_is_not_there_is_empty(self, driven: Driven) -> None:
        cloud = driven.cloud
        if not isinstance(cloud, HasConsole):
            pytest.skip("it has no consoles")
        assert (cloud.console.log("job-9"), cloud.console.fault("job-9")) == ("", "")

    def test_how_a_machine_would_start_is_warm_or_cold(self, driven: Driven) -> None:
        cloud = driven.cloud
        if not isinstance(cloud, HasPrewarming):
            pytest.skip("all its machines start in the same way")
        assert re.fullmatch(r"warm|cold: .+", cloud.prewarming.next_boot(FLAVOR))

    def test_nothing_is_resumed_where_nothing_was_begun(self, driven: Driven, tmp_path: Path) -> None:
        cloud = driven.cloud
        if not isinstance(cloud, HasResumption):
            pytest.skip("it makes machines in one step")
        assert not cloud.resumption.is_copying("job-9")
        cloud.resumption.take_up("job-9", TerraformModule(tmp_path, tmp_path / "states", "no-terraform", dict))

    def test_the_memory_of_a_machine_that_is_not_there_is_not_known(self, driven: Driven) -> None:
        cloud = driven.cloud
        if not isinstance(cloud, HasMemoryUse):
            pytest.skip("its machines take no memory of this computer")
        assert cloud.memory.use("job-9") is None
