"""The provider's resource, without terraform and without QEMU."""

from pathlib import Path
from typing import Any

import pytest
from tf.iface import CreateContext, ReadContext
from tf.utils import Diagnostics

from server.workers.clouds.qemu.accelerator import Choice
from server.workers.clouds.qemu.machine import Machine, MachineSpec
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.provider import boot
from server.workers.clouds.qemu.provider.provider import Call, MachineResource, QemuProvider
from tests.workers.clouds.qemu.building import ACCEL, make_image, unique_server

PLANNED: dict[str, Any] = {
    "server_id": unique_server(),
    "worker": "job-1",
    "snapshot": "1",
    "cpus": 1,
    "memory_mb": 1024,
    "disk_gb": 20,
    "ssh_public_key": "ssh-ed25519 AAAA",
    "persistent": False,
    "create_timeout_s": 5,
    "delete_timeout_s": 5,
}


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QemuProvider:
    monkeypatch.setattr(boot, "choose", lambda _: Choice(ACCEL))
    return QemuProvider(QemuHome(tmp_path))


def create(provider: QemuProvider, **changes: object) -> tuple[dict[str, Any] | None, list[str]]:
    """The state that a creation gives, and its errors."""
    diagnostics = Diagnostics()
    state = MachineResource(provider).create(CreateContext(diagnostics, "qemu_machine"), {**PLANNED, **changes})
    return state, [diagnostic.summary for diagnostic in diagnostics.diagnostics]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("worker", "../../etc"),
        ("worker", "a,b"),
        ("worker", ""),
        ("server_id", "C0FFEE"),
        ("snapshot", "../1"),
        ("cpus", 0),
        ("memory_mb", 1),
        ("disk_gb", 0),
        ("ssh_public_key", "ssh-ed25519 A\nssh-ed25519 B"),
    ],
)
def test_a_value_that_could_do_harm_is_refused_before_anything_is_made(
    provider: QemuProvider, tmp_path: Path, field: str, value: object
) -> None:
    state, errors = create(provider, **{field: value})
    assert state is None
    assert [error.partition(":")[0] for error in errors] == [field]
    assert list(tmp_path.iterdir()) == []


def test_no_snapshot_is_an_error_that_says_what_to_do(provider: QemuProvider) -> None:
    state, errors = create(provider)
    assert state is None
    assert "make snapshot" in errors[0]


def test_a_disk_smaller_than_the_templates_is_refused(provider: QemuProvider, tmp_path: Path) -> None:
    make_image(tmp_path / "qemu" / "snapshots" / "1")
    _, errors = create(provider, disk_gb=2)
    assert "too small: the template's has 3 GB" in errors[0]


def test_what_a_failed_creation_left_is_in_the_state_so_that_it_can_be_destroyed(
    provider: QemuProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(tmp_path / "qemu" / "snapshots" / "1")
    monkeypatch.setattr(boot, "create_overlay", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    state, errors = create(provider)
    assert "no space left" in errors[0]
    assert state is not None
    assert (state["id"], state["worker"], state["pid"]) == ("job-1", "job-1", 0)
    assert set(state) == {attribute.name for attribute in MachineResource.ATTRIBUTES}


def test_a_machine_without_a_process_is_gone_from_the_state(provider: QemuProvider) -> None:
    machine = Machine(spec=MachineSpec.model_validate(PLANNED), host_key="ssh-ed25519 AAAA", pid=1, ready=True)
    provider.machines.folder("job-1").mkdir(parents=True)
    provider.machines.write(machine)
    assert MachineResource(provider).read(ReadContext(Diagnostics(), "qemu_machine"), PLANNED) is None


def test_an_abandoned_request_reacts_once_it_is_watched() -> None:
    call, reactions = Call(), []
    call.abandon()
    with call.reacting(lambda: reactions.append("stop")):
        call.abandon()
    call.abandon()
    assert call.abandoned.is_set()
    assert reactions == ["stop"]


def test_every_attribute_is_described() -> None:
    assert all(attribute.description for attribute in MachineResource.ATTRIBUTES)
