"""The files of the qemu cloud, damaged: what can be made again is, what cannot is named, and nothing is waited for."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import TemplateMissing
from server.settings import Settings
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.qemu import accelerator
from server.workers.clouds.qemu.accelerator import Found
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.console import MachineConsole
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.images import Image, describe_image, read_image, require_integrity
from server.workers.clouds.qemu.images.integrity import Content
from server.workers.clouds.qemu.images.memory import MemoryImage, Origin
from server.workers.clouds.qemu.images.mirror import install_mirror
from server.workers.clouds.qemu.images.snapshot import Snapshots, restore_current
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.network import nfs_port
from server.workers.clouds.qemu.network.nfs import NfsServer
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName
from tests.faults.home import KINDS

LYING = sorted(set(KINDS) - {"foreign", "read_only"})
SHAPE = Shape(1, 1024, 10)
ORIGIN = Origin("qemu", "tcg", "max", "", str(SHAPE), "devices", "image")


@pytest.fixture
def home(tmp_path: Path) -> QemuHome:
    return QemuHome(tmp_path / "home")


@pytest.fixture(params=LYING)
def spoil(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return KINDS[request.param]


def snapshot(home: QemuHome, number: int) -> Image:
    folder = home.snapshots / str(number)
    folder.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "1G"], check=True)
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd").write_bytes(b"initrd")
    return describe_image(folder, 1000.0, "recipe")


def with_memory(image: Image) -> MemoryImage:
    """A whole memory image."""
    place = memory.reserve(image, SHAPE, "canary-1")
    place.ram.write_bytes(b"ram")
    place.state.write_bytes(b"state")
    disk = image.folder / "saved.qcow2"
    disk.write_bytes(b"disk")
    return memory.publish(place, ORIGIN, image, disk)


def test_the_login_key_s_public_half_is_made_of_the_private_one(home: QemuHome, spoil: Callable[[Path], None]) -> None:
    """A new key would shut its owner out of the machines that were made with the former one."""
    line = ensure_key(home.key)
    spoil(home.key.with_name("id_ed25519.pub"))
    assert ensure_key(home.key) == line


def test_a_private_key_that_is_none_is_set_aside_and_made_anew(home: QemuHome, spoil: Callable[[Path], None]) -> None:
    line = ensure_key(home.key)
    spoil(home.key)
    made = ensure_key(home.key)
    assert made != line
    assert ensure_key(home.key) == made
    assert home.key.stat().st_mode & 0o777 == 0o600


def test_a_private_key_that_others_may_read_is_closed_again(home: QemuHome) -> None:
    ensure_key(home.key)
    home.key.chmod(0o644)
    ensure_key(home.key)
    assert home.key.stat().st_mode & 0o777 == 0o600


def test_the_mirror_is_as_it_should_be_whatever_was_in_it(home: QemuHome, spoil: Callable[[Path], None]) -> None:
    def contents() -> dict[str, bytes]:
        top = home.mirror.parent
        found = (
            path for path in sorted(top.rglob("*")) if path.is_file() and "venv" not in path.parts and ".broken-" not in str(path)
        )
        return {str(path.relative_to(top)): path.read_bytes() for path in found}

    install_mirror(home)
    whole = contents()
    (plugin,) = home.mirror.rglob("terraform-provider-qemu*")
    for path in (plugin, home.terraform_rc, home.terraform_rc.with_name("venv")):
        spoil(path) if not path.is_symlink() else path.unlink()
    (plugin.parent / "something").write_text("more")
    plugin.parent.mkdir(exist_ok=True)
    install_mirror(home)
    assert contents() == whole
    assert os.access(plugin, os.X_OK)
    assert home.terraform_rc.with_name("venv").is_dir()


def test_a_machine_s_record_is_never_waited_for_and_the_machine_is_removed_by_its_name(
    home: QemuHome, spoil: Callable[[Path], None]
) -> None:
    machines, spec = (
        Machines(home),
        MachineSpec(
            server_id="c1", worker="job-1", snapshot="1", cpus=1, memory_mb=1024, disk_gb=5, ssh_public_key="ssh-ed25519 AAAA"
        ),
    )
    machines.folder("job-1").mkdir(parents=True)
    machines.write(Machine(spec=spec, host_key=""))
    spoil(machines.folder("job-1") / "machine.json")
    (machines.folder("job-1") / "console.log").mkdir()
    os.mkfifo(machines.folder("job-1") / "qemu.log")
    assert machines.record("job-1") is None
    assert MachineConsole(home).log("job-1") == ""
    machines.write(Machine(spec=spec, host_key=""))
    assert machines.record("job-1") is not None
    (home.machines / "job-2").write_text("no folder")
    for worker in ("job-1", "job-2"):
        machines.remove(GuestName("c1", worker))
    assert machines.folders() == []


def test_the_template_s_machine_is_no_orphan_where_its_record_is_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.workers.clouds.qemu import inventory as module

    cloud = QemuCloud(settings, "c1")
    monkeypatch.setattr(module, "guests_of", lambda _: {"template": 4711, "job-1": 4712})
    monkeypatch.setattr(module, "find_process", lambda mark: 4711 if ".template," in mark else None)
    assert [one.worker for one in cloud.resources() if one.kind == "machine"] == ["job-1"]


def test_what_is_known_of_kvm_is_looked_for_again(home: QemuHome, spoil: Callable[[Path], None]) -> None:
    accelerator._write(home.accel, "key", Found("7.2", probed=True))
    assert accelerator._read(home.accel, "key", 0.0) == Found("7.2", probed=True)
    spoil(home.accel)
    assert accelerator._read(home.accel, "key", 0.0) is None
    accelerator._write(home.accel, "key", Found("7.2", probed=True))
    assert accelerator._read(home.accel, "key", 0.0) == Found("7.2", probed=True)


def test_the_nfs_server_keeps_its_port_where_the_file_is_lost(
    home: QemuHome, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Running machines have it in their mounts."""
    server = NfsServer(home, "c1", tmp_path / "data", tmp_path / "jobs", 1234)
    server.folder.mkdir(parents=True)
    nfs_port.write_own(home.nfs_config, server._ganesha.configuration(23456))
    server._port.keep(23456)
    spoil(server.folder / "port")
    assert server.port == 23456
    server._port.keep(server.port)
    assert (server.folder / "port").read_text() == "23456\n"
    (server.folder / "port").unlink()
    spoil(home.nfs_config)
    assert server.port == 0


def test_the_link_to_the_promoted_snapshot_leads_again_to_the_one_promoted_last(
    home: QemuHome, spoil: Callable[[Path], None]
) -> None:
    """That need not be the newest."""
    for number in (1, 2):
        snapshot(home, number)
    snapshots = Snapshots(home, None)  # type: ignore[arg-type]
    for name in ("2", "1"):
        snapshots.promote(name)
        os.utime(home.snapshots / name / "promoted", (time.time() - int(name), time.time() - int(name)))
    home.current.unlink()
    home.current.write_text("")
    spoil(home.current)
    restore_current(home)
    assert home.current.readlink() == Path("1")
    restore_current(home)
    assert home.current.is_symlink()


@pytest.mark.parametrize("name", ["image.json", "disk.qcow2", "vmlinuz", "initrd"])
def test_no_machine_boots_from_a_snapshot_that_is_not_as_it_was_written(
    home: QemuHome, spoil: Callable[[Path], None], name: str
) -> None:
    image = snapshot(home, 1)
    with_memory(image)
    require_integrity(image)
    spoil(image.folder / name)
    with pytest.raises(TemplateMissing, match=r"cumulus snapshot rollback|make snapshot") as told:
        require_integrity(read_image(image.folder))
    assert name in told.value.message or "there is no machine image" in told.value.message
    assert "\n" not in told.value.message


@pytest.mark.parametrize("name", ["programs.json", "apps.json"])
def test_what_a_snapshot_s_smoke_test_has_shown_is_not_known_where_it_is_lost(
    home: QemuHome, spoil: Callable[[Path], None], name: str
) -> None:
    image = snapshot(home, 1)
    image.write_programs(["x"])
    image.write_apps({})
    spoil(image.folder / name)
    assert image.has_program("x")
    assert image.smoke_results().are_known is (name == "programs.json")


@pytest.mark.parametrize("name", ["ram", "state", "disk.qcow2", "fingerprint.json", "checked.json", "checked.lock", "used"])
def test_a_damaged_memory_image_is_not_used_and_one_that_is_whole_is(
    home: QemuHome, spoil: Callable[[Path], None], name: str
) -> None:
    image = snapshot(home, 1)
    whole = with_memory(image)
    assert memory.unfit(whole, ORIGIN, image) == ""
    whole.note_use()
    spoil(whole.folder / name)
    said = memory.unfit(whole, ORIGIN, image)
    assert (said == "") is (name in ("checked.json", "checked.lock", "used"))
    assert (memory.damage(whole, image, Content.of) == "") is (said == "")
    memory.withdraw(whole)
    assert memory.unfit(whole, ORIGIN, image)


def test_a_reservation_that_cannot_be_read_is_nobody_s(home: QemuHome, spoil: Callable[[Path], None]) -> None:
    image = snapshot(home, 1)
    place = memory.reserve(image, SHAPE, "canary-1")
    spoil(place.folder / "worker")
    assert memory.reserved_for(image, SHAPE, "canary-1") is None
    memory.reserve(image, SHAPE, "canary-1")
    assert memory.reserved_for(image, SHAPE, "canary-1") is not None


def test_the_description_of_an_image_is_checked_before_it_is_believed(home: QemuHome) -> None:
    image = snapshot(home, 1)
    known = json.loads((image.folder / "image.json").read_text())
    (image.folder / "image.json").write_text(json.dumps({**known, "created": "yesterday"}))
    with pytest.raises(TemplateMissing, match=r"image\.json that can be read"):
        read_image(image.folder)
