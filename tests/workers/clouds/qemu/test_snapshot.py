"""Which snapshot is promoted, which are kept, and that a bad one changes nothing."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.catalog.flavors import Flavor
from server.errors import InfrastructureError, TemplateMissing
from server.progress import Counter, Lines, Progress
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.machine_locks import exclusive
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images.canary import Canaries, shape_of
from server.workers.clouds.qemu.images.images import Image, describe_image, read_image
from server.workers.clouds.qemu.images.snapshot import Snapshots, half_made, remove_half_made
from server.workers.clouds.qemu.machine import Machines
from server.workers.clouds.qemu.paths import QemuHome
from tests.conftest import eventually
from tests.workers.clouds.qemu.building import make_image, make_memory, small_disk, unique_server

SMALL = Flavor("m1.small", 1, 1, 1)


@dataclass
class Workspaces:
    """A terraform module that fails to make a machine."""

    destroyed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def apply(self, workspace: str, variables: object, timeout_s: float) -> dict[str, Any]:
        raise InfrastructureError("no machine today")

    def destroy(self, workspace: str, timeout_s: float) -> None:
        self.destroyed.append(workspace)

    def workspaces(self) -> list[str]:
        return self.left


class Untried(Canaries):
    """Snapshots are promoted without a machine."""

    def keep_memory(
        self, image: Image, flavor: Flavor, trial: SmokeTest, progress: Progress, unwanted: Callable[[], bool] | None = None
    ) -> None:
        progress.say(f"looked at {image.folder.name}")


def variables(worker: str, flavor: Flavor, snapshot: str) -> dict[str, object]:
    return {
        "server_id": unique_server(),
        "worker": worker,
        "cpus": flavor.cpus,
        "memory_gb": flavor.memory_gb,
        "disk_gb": 20,
        "snapshot": snapshot,
    }


@pytest.fixture
def module() -> Workspaces:
    return Workspaces()


@pytest.fixture
def home(tmp_path: Path) -> QemuHome:
    """A home whose template has a real, empty disk."""
    home = QemuHome(tmp_path)
    make_image(home.template)
    (home.template / "disk.qcow2").unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(home.template / "disk.qcow2"), "1M"], check=True)
    describe_image(home.template, 1000.0, "recipe")
    return home


@pytest.fixture
def snapshots(home: QemuHome, module: Workspaces) -> Snapshots:
    return Snapshots(home, Untried(home, module, variables, lambda: 1), now=lambda: 2000.0)  # type: ignore[arg-type]


def take(snapshots: Snapshots) -> str:
    return snapshots.take(SMALL, SmokeTest(), Lines(lambda _: None)).name


def test_a_new_snapshot_is_promoted_and_the_one_before_kept(snapshots: Snapshots) -> None:
    assert [take(snapshots), take(snapshots), take(snapshots)] == ["1", "2", "3"]
    assert [(one.name, one.promoted) for one in snapshots.listed()] == [("2", False), ("3", True)]
    assert snapshots.current() == "3"


def test_what_is_copied_is_told_in_mb(snapshots: Snapshots) -> None:
    told: list[str] = []
    snapshots.take(SMALL, SmokeTest(), Lines(told.append))
    copied = [line for line in told if line.startswith("Copying the template's disk to snapshot 1: ")]
    assert len(copied) == 1
    assert re.search(r": \d+ s \(\d+ MB\)$", copied[0])


def test_a_step_tells_the_latest_message_on_a_machine_s_console(home: QemuHome) -> None:
    step, machines = Counter("Booting", "", 0.0), Machines(home)
    machines.folder("job-7").mkdir(parents=True)
    (machines.folder("job-7") / "console.log").write_bytes(
        b"[  OK  ] Started a\r\n[\x1b[32m  OK  \x1b[0m] Started ssh\r\n\x1b[2K"
    )
    with machines.followed("job-7", step):
        eventually(lambda: step.latest == "[ OK ] Started ssh")


def test_pruning_keeps_as_many_as_it_is_told_and_never_less_than_the_promoted_one_and_the_one_before(
    snapshots: Snapshots, home: QemuHome
) -> None:
    for _ in range(3):
        take(snapshots)
    snapshots.prune(keep=5)
    assert [one.name for one in snapshots.listed()] == ["2", "3"]
    snapshots.roll_back()
    snapshots.prune(keep=1)
    assert sorted(entry.name for entry in home.snapshots.iterdir() if entry.name.isdigit()) == ["2", "3"]
    snapshots.prune()
    assert sorted(entry.name for entry in home.snapshots.iterdir() if entry.name.isdigit()) == ["2"]


def test_a_snapshot_depends_on_no_other_file(snapshots: Snapshots, home: QemuHome) -> None:
    take(snapshots)
    told = subprocess.run(
        ["qemu-img", "info", str(home.current / "disk.qcow2")], check=True, capture_output=True, text=True
    ).stdout
    assert "backing file" not in told
    assert (home.current / "vmlinuz").read_bytes() == b"kernel"


def test_one_whose_machine_cannot_be_made_leaves_all_as_it_was(snapshots: Snapshots, home: QemuHome, module: Workspaces) -> None:
    take(snapshots)
    real = Snapshots(home, Canaries(home, module, variables, lambda: 1), snapshots.now)  # type: ignore[arg-type]
    with pytest.raises(InfrastructureError, match="no machine today"):
        real.take(SMALL, SmokeTest(), Lines(lambda _: None))
    assert [one.name for one in real.listed()] == ["1"]
    assert [entry.name for entry in home.snapshots.iterdir() if entry.name.isdigit()] == ["1"]
    assert module.destroyed == ["canary-2"]


def test_rolling_back_promotes_the_one_before_and_a_new_one_gets_a_new_number(snapshots: Snapshots) -> None:
    take(snapshots)
    take(snapshots)
    assert snapshots.roll_back() == "1"
    assert snapshots.current() == "1"
    with pytest.raises(TemplateMissing, match="no older"):
        snapshots.roll_back()


def test_nothing_to_copy_says_what_to_make(tmp_path: Path, module: Workspaces) -> None:
    nowhere = QemuHome(tmp_path / "empty")
    empty = Snapshots(nowhere, Untried(nowhere, module, variables, lambda: 1))  # type: ignore[arg-type]
    with pytest.raises(TemplateMissing, match="make template"):
        take(empty)


def test_a_broken_attempt_is_cleared_away(snapshots: Snapshots, home: QemuHome, module: Workspaces) -> None:
    take(snapshots)
    half = home.snapshots / "2"
    half.mkdir()
    (half / "disk.qcow2").write_bytes(b"half")
    module.left = ["canary-2", "job-7"]
    assert take(snapshots) == "2"
    assert module.destroyed == ["canary-2"]


def test_a_template_in_use_or_broken_is_not_copied(snapshots: Snapshots, home: QemuHome) -> None:
    (home.template / "disk.qcow2").write_bytes(b"QFI\xfb" + bytes(100))
    with pytest.raises(InfrastructureError, match="could not be copied"):
        take(snapshots)
    assert snapshots.listed() == []


def test_the_size_is_the_one_that_the_module_asks_for() -> None:
    shape = shape_of({"cpus": 2, "memory_gb": 1.5, "disk_gb": 20})
    assert str(shape) == "2c-1536m-20g"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": "x"}'])
def test_one_that_cannot_be_read_is_not_listed_and_goes_with_the_next(snapshots: Snapshots, home: QemuHome, text: str) -> None:
    take(snapshots)
    (home.current / "image.json").write_text(text)
    assert snapshots.listed() == []
    assert take(snapshots) == "2"
    assert [one.name for one in snapshots.listed()] == ["2"]
    assert [entry.name for entry in home.snapshots.iterdir() if entry.name.isdigit()] == ["2"]


def test_only_what_was_never_promoted_and_is_not_being_made_counts_as_half_made(snapshots: Snapshots, home: QemuHome) -> None:
    assert half_made(home) == []
    take(snapshots)
    take(snapshots)
    snapshots.roll_back()  # the second one stays: somebody may want it again
    half = home.snapshots / "3"
    half.mkdir()
    with exclusive(home.snapshot_lock, "snapshot", 1):
        assert half_made(home) == []
        with pytest.raises(InfrastructureError, match="another process"):
            remove_half_made(home, half)
    assert half_made(home) == [half]
    for other in (home.snapshots / "1", home.snapshots / "2", home.template):
        remove_half_made(home, other)
        assert other.is_dir()
    remove_half_made(home, half)
    assert not half.exists()


def test_a_new_snapshot_drops_what_the_former_one_has_on_demand_and_keeps_the_rest(snapshots: Snapshots, tmp_path: Path) -> None:
    """Going back is as fast as before for the flavor that the snapshot was tried as."""
    take(snapshots)
    image = read_image(snapshots.home.current)
    kept = make_memory(image, tmp_path)
    dropped = make_memory(image, tmp_path, shape=Shape(2, 2048, 20), on_demand=True)
    half = image.memory / "4c-1024m-20g.new"
    half.mkdir()
    take(snapshots)
    assert kept.fingerprint.exists()
    assert not dropped.folder.exists()
    assert not half.exists()


def test_a_full_disk_leaves_all_as_it_was(snapshots: Snapshots, home: QemuHome) -> None:
    (home.template / "data").write_bytes(os.urandom(4 << 20))
    write = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(home.template / "data"), str(home.template / "disk.qcow2")]
    subprocess.run(write, check=True)
    describe_image(home.template, 1000.0, "recipe")
    with small_disk(home.snapshots, size_kb=7_000):
        take(snapshots)
        free = shutil.disk_usage(home.snapshots).free
        with pytest.raises(InfrastructureError, match=r"could not be copied: .*No space"):
            take(snapshots)
        assert sorted(entry.name for entry in home.snapshots.iterdir()) == ["1", "current"]
        assert shutil.disk_usage(home.snapshots).free == free
        assert read_image(home.current).folder.name == "1"
