"""KVM that passes the probe and brings no machine up: the machine at hand is emulated, and so are the next ones."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.cloud_settings.qemu import Accelerator
from server.errors import InfrastructureError
from server.progress import Counter
from server.workers.clouds.qemu.accelerator import QEMU, TCG, choose, described, prove_kvm
from server.workers.clouds.qemu.host import probe
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.canary import Canaries
from server.workers.clouds.qemu.images.images import Image, describe_image
from server.workers.clouds.qemu.images.prewarming import missing
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.provider import boot
from server.workers.clouds.qemu.provider.boot import Booter
from tests.workers.clouds.qemu import fake_qemu

LIMIT_S = 30.0
SERVER_ID = f"cfallback{os.getpid()}"  # machines are known by it on the whole computer, where other tests run, too
Behave = Callable[..., None]


@pytest.fixture
def behave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Behave:
    """Says what QEMU does with KVM, and without it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / QEMU).write_text(f'#!/bin/sh\nexec {sys.executable} {fake_qemu.__file__} "$@"\n')
    (folder / QEMU).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_QEMU", str(tmp_path / "behaviour"))
    monkeypatch.setattr(probe, "KVM_DEVICE", tmp_path)

    def say(kvm: str, tcg: str = "ok") -> None:
        (tmp_path / "behaviour").write_text(json.dumps({"kvm": kvm, "tcg": tcg}))

    return say


@pytest.fixture
def image(tmp_path: Path) -> Image:
    folder = tmp_path / "home" / "qemu" / "snapshots" / "1"
    folder.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "1G"], check=True)
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd").write_bytes(b"initrd")
    return describe_image(folder, 1000.0, "recipe")


@pytest.fixture
def home(tmp_path: Path, image: Image) -> Iterator[QemuHome]:
    made = QemuHome(tmp_path / "home")
    yield made
    for worker in Machines(made).folders():
        Machines(made).remove(spec(worker).guest)


def spec(worker: str = "job-1") -> MachineSpec:
    given = {"server_id": SERVER_ID, "worker": worker, "snapshot": "1", "cpus": 1, "memory_mb": 256, "disk_gb": 2}
    return MachineSpec.model_validate({**given, "ssh_public_key": "ssh-ed25519 AAAA"})


def create(home: QemuHome, worker: str = "job-1") -> Machine:
    return Booter(Machines(home)).create(spec(worker), LIMIT_S)


def tried(tmp_path: Path) -> list[str]:
    """The accelerators that machines were started with, in order."""
    return (tmp_path / "behaviour.calls").read_text().split()


def test_a_machine_that_kvm_aborts_is_emulated_in_the_same_attempt(home: QemuHome, tmp_path: Path, behave: Behave) -> None:
    behave(kvm="abort")
    machine = create(home)
    assert machine.ready
    assert machine.accel is not None
    assert machine.accel.argument == TCG
    assert tried(tmp_path) == ["kvm", "tcg"]
    assert machine.boot.startswith("cold: no memory image")
    assert "KVM passed its test, but brought no machine up (QEMU did not start: " in machine.boot
    assert "kvm_init_vcpu failed" in machine.note
    assert Machines(home).find("job-1") == machine


def test_one_that_hangs_is_emulated_before_the_time_is_over(
    home: QemuHome, tmp_path: Path, behave: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "KVM_LIMIT_S", 1.0)
    behave(kvm="hang")
    machine = create(home)
    assert machine.ready
    assert "the guest said nothing on its identity port" in machine.note
    assert tried(tmp_path) == ["kvm", "tcg"]


def test_the_next_machines_are_emulated_at_once_and_doctor_says_why(home: QemuHome, tmp_path: Path, behave: Behave) -> None:
    behave(kvm="abort")
    create(home)
    second = create(home, "job-2")
    assert second.note == ""
    assert tried(tmp_path) == ["kvm", "tcg", "tcg"]
    assert "KVM passed its test, but brought no machine up" in described(home)
    assert f"rm {home.accel}" in described(home)


def test_what_emulation_cannot_bring_up_either_says_nothing_of_kvm(home: QemuHome, behave: Behave) -> None:
    behave(kvm="abort", tcg="abort")
    with pytest.raises(InfrastructureError, match="QEMU did not start"):
        create(home)
    assert choose(home).accel.is_kvm
    assert choose(home).may_fall_back


def test_once_a_machine_has_come_up_with_kvm_a_failure_is_a_failure(home: QemuHome, tmp_path: Path, behave: Behave) -> None:
    behave(kvm="ok")
    assert create(home).note == ""
    behave(kvm="abort")
    with pytest.raises(InfrastructureError):
        create(home, "job-2")
    assert tried(tmp_path) == ["kvm", "kvm"]
    assert choose(home).accel.is_kvm


def test_where_kvm_is_demanded_its_failure_names_the_setting(home: QemuHome, tmp_path: Path, behave: Behave) -> None:
    behave(kvm="abort")
    with pytest.raises(InfrastructureError, match=r"the setting accelerator \(CUMULUS_ACCELERATOR\) is kvm; auto or tcg would"):
        create(QemuHome(home.home, Accelerator.KVM))
    assert tried(tmp_path) == ["kvm"]


def test_where_emulation_is_demanded_kvm_is_not_looked_at(home: QemuHome, tmp_path: Path, behave: Behave) -> None:
    behave(kvm="abort")
    assert create(QemuHome(home.home, Accelerator.TCG)).note == ""
    assert tried(tmp_path) == ["tcg"]


def test_a_machine_that_was_removed_meanwhile_is_not_tried_again(
    home: QemuHome, tmp_path: Path, behave: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(kvm="hang")
    machines = Machines(home)

    def give_up(*_: object) -> None:
        machines.give_up(spec().guest)
        raise InfrastructureError("the guest said nothing")

    monkeypatch.setattr(boot, "give_identity", give_up)
    with pytest.raises(InfrastructureError, match="was removed while it was made"):
        create(home)
    assert tried(tmp_path) == ["kvm"]
    assert machines.folders() == []


def test_the_memory_of_an_emulated_machine_starts_the_next_ones(
    home: QemuHome, image: Image, tmp_path: Path, behave: Behave
) -> None:
    behave(kvm="abort")
    home.current.symlink_to("1")
    place = memory.reserve(image, spec().shape, "canary-1")
    place.ram.write_bytes(b"left by the attempt with KVM")
    machine = create(home, "canary-1")
    assert not place.ram.exists()
    save(home, machine, image, place)
    assert missing(home, spec().shape) == ""


def test_a_memory_image_is_of_the_accelerator_that_its_machine_really_ran_with(
    home: QemuHome, image: Image, behave: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has come up with KVM meanwhile: what is known of this computer is not what this machine ran with."""
    behave(kvm="abort")
    home.current.symlink_to("1")
    place = memory.reserve(image, spec().shape, "canary-1")
    monkeypatch.setattr(boot, "give_up_kvm", lambda home, _: prove_kvm(home))
    save(home, create(home, "canary-1"), image, place)
    assert choose(home).accel.is_kvm
    assert missing(home, spec().shape) == "the memory image was made with another accelerator"


def save(home: QemuHome, machine: Machine, image: Image, place: memory.MemoryImage) -> None:
    """Keep the machine's memory, as far as QEMU would have a part in it."""
    place.ram.write_bytes(b"memory")
    place.state.write_bytes(b"state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "save_state", lambda *_: None)
        module: Any = None  # no terraform has a part in it
        Canaries(home, module, lambda *_: {}, lambda: 0)._save(machine, image, place, Counter("Saving", "MB", 0.0))
