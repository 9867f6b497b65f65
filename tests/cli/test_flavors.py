"""The commands about machine sizes."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.catalog.flavors import read_flavors
from server.cli.main import main
from server.errors import InfrastructureError
from server.home.installation import installation_id
from server.settings import Settings
from server.workers.clouds.capabilities import CloudFlavor
from server.workers.clouds.local import LocalCloud


class SizedCloud(LocalCloud):
    """One that has sizes of its own."""

    has: Sequence[CloudFlavor] = (
        CloudFlavor("m1.4xlarge", 1, 1.0),
        CloudFlavor("m1.8xlarge", 4, 2.0, 40),
        CloudFlavor("m9.other", 8, 64.0),
    )

    @property
    def flavors(self) -> "SizedCloud":
        return self

    def listed(self) -> Sequence[CloudFlavor]:
        return self.has


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))


@pytest.fixture
def sized(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> SizedCloud:
    cloud = SizedCloud(settings, installation_id(settings.home))
    monkeypatch.setattr("server.workers.clouds.registry.make_cloud", lambda _: cloud)
    return cloud


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["flavors", *arguments], catch_exceptions=False)


def test_a_cloud_without_sizes_takes_any() -> None:
    done = run("sync")
    assert (done.exit_code, "takes any size" in done.output) == (0, True)
    assert json.loads(run("sync", "--json").stdout) == {"takes_any_size": True, "differences": []}


def test_each_difference_is_a_line_with_its_cure_and_nothing_is_written(sized: SizedCloud, settings: Settings) -> None:
    before = settings.flavors.read_bytes()
    done = run("sync")
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "flavors.tsv: m1.8xlarge: CPU is 2, the cloud has 4; DISK is 20 by worker_disk_gb, the snapshot needs 40;"
        " write CPU 4, DISK 40 into its line",
        "flavors.tsv: m1.heavy: the cloud has no such size;"
        " make it on the cloud (CPU 8, RAM 64 GB), take its line out, or name one of its size: m9.other",
    ]
    found = json.loads(run("sync", "--json").stdout)
    assert [(one["flavor"], one["cells"], one["written"]) for one in found["differences"]] == [
        ("m1.8xlarge", {"CPU": 4, "DISK": 40}, False),
        ("m1.heavy", {}, False),
    ]
    assert settings.flavors.read_bytes() == before


def test_written_on_request_is_what_a_line_can_say(sized: SizedCloud, settings: Settings) -> None:
    done = run("sync", "--write")
    assert done.exit_code == 1  # the cloud still lacks one
    assert done.output.splitlines()[0].endswith("; written")
    flavor = read_flavors(settings.flavors)["m1.8xlarge"]
    assert (flavor.cpus, flavor.disk_gb, flavor.weight) == (4, 40, 2)
    sized.has = (*sized.has, CloudFlavor("m1.heavy", 8, 32.0))
    assert run("sync", "--write").exit_code == 0
    done = run("sync")
    assert (done.exit_code, done.output) == (0, "all 3 machine sizes are as the cloud has them\n")


def test_a_cloud_that_does_not_answer_is_one_line(sized: SizedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: SizedCloud) -> None:
        raise InfrastructureError("the cloud does not answer")

    monkeypatch.setattr(SizedCloud, "listed", silent)
    done = run("sync")
    assert (done.exit_code, done.output) == (1, "cumulus: the cloud does not answer\n")


def test_a_name_of_the_cloud_cannot_move_the_cursor(sized: SizedCloud) -> None:
    sized.has = (CloudFlavor("evil\x1b[2J", 8, 64.0),)
    assert "\x1b" not in run("sync").output


def test_the_list_is_what_stands_without_an_action(settings: Settings) -> None:
    assert "m1.heavy" in run().output
    assert run("--json", "sync").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_a_file_that_cannot_be_written_says_so_and_stays(
    sized: SizedCloud, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = settings.flavors.read_bytes()

    def refuse(_path: Path, _data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    done = run("sync", "--write")
    assert (done.exit_code, "cannot be written: Permission denied" in done.output) == (1, True)
    assert settings.flavors.read_bytes() == before


def test_the_sizes_are_listed_with_how_their_machines_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    (small, *_, heavy) = json.loads(run("--json").stdout)
    assert small == {"name": "m1.4xlarge", "weight": 1, "cpus": 1, "memory_gb": 1, "disk_gb": None, "next_boot": ""}
    assert heavy["name"] == "m1.heavy"
    monkeypatch.setenv("CUMULUS_CLOUD", "qemu")
    assert "cold: there is no machine image" in run().stdout.splitlines()[1]
