"""When a memory image is made on demand, when it is refused, and which go. How one is made is in tests/e2e."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.catalog.flavors import Flavor
from server.errors import InfrastructureError, TemplateMissing
from server.progress import Progress
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.machine_locks import exclusive
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images import integrity, memory, prewarming
from server.workers.clouds.qemu.images.canary import Canaries
from server.workers.clouds.qemu.images.images import Image, read_image
from server.workers.clouds.qemu.images.integrity import Content
from server.workers.clouds.qemu.images.prewarming import NEXT, SNAPSHOT, Prewarming, Room, missing, prune
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.paths import QemuHome
from tests.conftest import eventually
from tests.workers.clouds.qemu.building import ACCEL, SHAPE, make_image, make_memory, unique_server

SMALL = Flavor("m1.small", 1, 1, 1)
PLENTY = Room(total=24 << 30, available=20 << 30)


class Pretending(Canaries):
    """Make a memory image without a machine; ``during`` happens meanwhile, ``problem`` is how it ends."""

    during: Callable[[], None] = staticmethod(lambda: None)
    problem: Exception | None = None
    cleared = 0
    made = 0
    unwanted: bool | None = None

    def keep_memory(
        self, image: Image, flavor: Flavor, trial: SmokeTest, progress: Progress, unwanted: Callable[[], bool] | None = None
    ) -> None:
        assert unwanted is not None
        vars(self)["made"] = self.made + 1
        self.during()
        vars(self)["unwanted"] = unwanted()
        if self.problem or self.unwanted:
            raise self.problem or InfrastructureError("the machine ended")
        make_memory(image, image.folder, on_demand=True)

    def clear(self, progress: Progress) -> None:
        vars(self)["cleared"] = self.cleared + 1


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QemuHome:
    """A home with a promoted snapshot."""
    monkeypatch.setattr(prewarming, "find_accel", lambda _: ACCEL)
    home = QemuHome(tmp_path / "home")
    make_image(home.snapshots / "1").memory.mkdir()
    home.current.symlink_to("1")
    return home


@pytest.fixture
def canaries(home: QemuHome) -> Pretending:
    return Pretending(home, None, None, None)  # type: ignore[arg-type]


@pytest.fixture
def images(home: QemuHome, canaries: Pretending) -> Prewarming:
    return Prewarming(home, canaries, lambda: PLENTY)


@pytest.fixture
def machine(home: QemuHome) -> Iterator[Machine]:
    """A process that looks like a machine of snapshot 1."""
    key = "ssh-ed25519 AAAA"
    size = {"cpus": SHAPE.cpus, "memory_mb": SHAPE.memory_mb, "disk_gb": SHAPE.disk_gb}
    spec = MachineSpec(server_id=unique_server(), worker="job-1", snapshot="1", ssh_public_key=key, **size)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", spec.guest.argument])
    machines = Machines(home)
    machines.folder("job-1").mkdir(parents=True)
    living = Machine(spec=spec, host_key="", pid=process.pid)
    machines.write(living)
    eventually(lambda: machines.find("job-1") is not None)
    yield living
    process.kill()
    process.wait()


def never() -> bool:
    return False


def folders(home: QemuHome) -> list[str]:
    return sorted(f"{path.parent.parent.name}/{path.name}" for path in home.snapshots.glob("[0-9]*/memory/*"))


def promote(home: QemuHome, name: str) -> Image:
    image = make_image(home.snapshots / name)
    home.current.unlink()
    home.current.symlink_to(name)
    return image


def test_what_is_missing_is_made_once(images: Prewarming, canaries: Pretending, home: QemuHome) -> None:
    assert missing(home, SHAPE) == "no memory image for 1c-1024m-20g"
    images.make(SMALL, SHAPE, never)
    assert missing(home, SHAPE) == ""
    images.make(SMALL, SHAPE, never)
    assert (canaries.made, canaries.cleared) == (1, 1)


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2", "fingerprint.json"])
def test_what_is_damaged_is_made_anew(images: Prewarming, home: QemuHome, name: str) -> None:
    images.make(SMALL, SHAPE, never)
    (home.current / "memory" / str(SHAPE) / name).write_bytes(b"garbage")
    assert missing(home, SHAPE) != ""
    images.make(SMALL, SHAPE, never)
    assert missing(home, SHAPE) == ""


def test_it_can_be_used_also_where_the_snapshots_disk_was_written_to_before_it_was_made(
    images: Prewarming, home: QemuHome
) -> None:
    images.make(SMALL, SHAPE, never)
    with (home.current / "disk.qcow2").open("ab") as disk:
        disk.write(b"more")
    assert missing(home, SHAPE) == "the snapshot's disk is not as it was written"
    images.make(SMALL, SHAPE, never)
    assert missing(home, SHAPE) == ""


def test_a_machine_larger_than_this_computer_is_refused_at_once(images: Prewarming, canaries: Pretending) -> None:
    with pytest.raises(InfrastructureError, match="a machine with 65536 MB is larger than this computer with 24576 MB"):
        images.make(SMALL, Shape(8, 65536, 20), never)
    assert canaries.made == 0


def test_none_is_made_while_the_memory_is_needed_otherwise(home: QemuHome, canaries: Pretending) -> None:
    scarce = Prewarming(home, canaries, lambda: Room(24 << 30, 100 << 20))
    with pytest.raises(InfrastructureError, match="MB of memory, 100 MB are free"):
        scarce.make(SMALL, SHAPE, never)
    assert canaries.made == 0


def test_who_makes_a_snapshot_is_not_disturbed(
    images: Prewarming, canaries: Pretending, home: QemuHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewarming, "LOCK_LIMIT_S", 0.05)
    half = home.current / "memory" / "1c-1024m-20g.new"
    half.mkdir(parents=True)
    with exclusive(home.snapshot_lock, SNAPSHOT, 1):
        with pytest.raises(InfrastructureError, match="another process"):
            images.make(SMALL, SHAPE, never)
        images.prune(0.0)
        assert half.is_dir()
    assert (canaries.made, canaries.cleared) == (0, 0)


def test_it_gives_way_to_who_wants_to_make_a_snapshot(images: Prewarming, canaries: Pretending, home: QemuHome) -> None:
    with exclusive(home.snapshot_lock, NEXT, 1), pytest.raises(InfrastructureError, match="gave way to a new snapshot"):
        images.make(SMALL, SHAPE, never)
    assert canaries.unwanted
    with exclusive(home.snapshot_lock, SNAPSHOT, 0.05):
        pass


def test_it_leaves_the_rest_of_the_disk_to_jobs(
    images: Prewarming, canaries: Pretending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fills it meanwhile. Once all is cleared away, there may be room again, and the reason is the same."""
    free = [10 << 30]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    canaries.__dict__["during"] = lambda: free.__setitem__(0, 100 << 20)
    with pytest.raises(InfrastructureError, match="the disk is getting full"):
        images.make(SMALL, SHAPE, never)
    assert canaries.unwanted


def test_it_is_given_up_when_it_is_unwanted(images: Prewarming, canaries: Pretending) -> None:
    with pytest.raises(InfrastructureError, match="the machine ended"):
        images.make(SMALL, SHAPE, lambda: True)
    assert canaries.unwanted


def test_without_a_snapshot_there_is_nothing_to_make(tmp_path: Path) -> None:
    home = QemuHome(tmp_path)
    images = Prewarming(home, Pretending(home, None, None, None), lambda: PLENTY)  # type: ignore[arg-type]
    images.prune(0.0)
    with pytest.raises(TemplateMissing):
        images.make(SMALL, SHAPE, never)


def test_what_a_killed_controller_left_half_made_goes_with_the_next(
    images: Prewarming, canaries: Pretending, home: QemuHome
) -> None:
    place = memory.reserve(read_image(home.current), SHAPE, "canary-1", on_demand=True)
    place.ram.write_bytes(b"half")
    assert missing(home, SHAPE) == "no memory image for 1c-1024m-20g"
    images.prune(0.0)
    assert (folders(home), canaries.cleared) == ([], 1)


def test_what_was_made_for_a_former_snapshot_goes(home: QemuHome, tmp_path: Path) -> None:
    make_memory(read_image(home.current), tmp_path, on_demand=True)
    make_memory(read_image(home.current), tmp_path, shape=Shape(2, 2048, 20))
    make_memory(promote(home, "2"), tmp_path, on_demand=True)
    prune(home, 0.0)
    assert folders(home) == ["1/2c-2048m-20g", "2/1c-1024m-20g"]


def test_what_nobody_has_used_for_long_goes(home: QemuHome, tmp_path: Path) -> None:
    image = read_image(home.current)
    old, used, kept = (make_memory(image, tmp_path, shape=Shape(cpus, 1024, 20), on_demand=cpus < 3) for cpus in (1, 2, 3))
    for one in (old, used, kept):
        os.utime(one.fingerprint, (1000.0, 1000.0))
    used.note_use()
    prune(home, 2000.0)
    assert folders(home) == ["1/2c-1024m-20g", "1/3c-1024m-20g"]
    os.utime(used.folder / "used", (1500.0, 1500.0))
    prune(home, 1400.0)
    assert len(folders(home)) == 2
    prune(home, 2000.0)
    assert folders(home) == ["1/3c-1024m-20g"]


def test_what_a_machine_runs_on_stays(home: QemuHome, tmp_path: Path, machine: Machine) -> None:
    make_memory(read_image(home.current), tmp_path, on_demand=True)
    promote(home, "2")
    prune(home, 0.0)
    assert folders(home) == ["1/1c-1024m-20g"]
    Machines(home).end(machine.spec.guest)
    prune(home, 0.0)
    assert folders(home) == []


def test_a_damage_that_the_file_system_does_not_tell_of_is_found_by_reading(
    images: Prewarming, home: QemuHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failing disk does: another byte, and the same times."""
    found = make_memory(read_image(home.current), tmp_path)
    monkeypatch.setattr(integrity._Looks, "of", lambda _: integrity._Looks(0, 0, 0, 0, 0))
    assert missing(home, SHAPE) == ""
    with found.ram.open("r+b") as ram:
        ram.write(b"M")
    assert missing(home, SHAPE) == ""
    images.prune(0.0)
    assert missing(home, SHAPE) == "no memory image for 1c-1024m-20g"


def test_what_images_have_in_common_is_read_once(
    images: Prewarming, home: QemuHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    whole = Content.of
    for cpus in (1, 2):
        make_memory(read_image(home.current), tmp_path, shape=Shape(cpus, 1024, 20))
    monkeypatch.setattr(Content, "of", lambda path: read.append(path) or whole(path))
    images.prune(0.0)
    assert read.count(read_image(home.current).disk) == 1
    assert sum(path.name == "ram" for path in read) == 2
