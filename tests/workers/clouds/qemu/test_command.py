"""What QEMU is told."""

import json
from pathlib import Path

from server.workers.clouds.qemu.command import Memory, Shape, qemu_command
from server.workers.clouds.qemu.process import GuestName
from tests.workers.clouds.qemu.building import ACCEL, make_image


def command(tmp_path: Path, memory: Memory = Memory(), incoming: bool = False, disk: str = "disk.qcow2") -> list[str]:  # noqa: B008
    image = make_image(tmp_path / "image")
    return qemu_command(GuestName("c0ffee", "job-7"), ACCEL, Shape(2, 1536, 20), image, tmp_path / disk, memory, incoming)


def value(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_a_machine_gets_what_its_flavor_has(tmp_path: Path) -> None:
    arguments = command(tmp_path)
    assert (value(arguments, "-smp"), value(arguments, "-m")) == ("2", "1536")
    assert json.loads(value(arguments, "-object"))["size"] == 1536 << 20


def test_the_process_carries_the_installation_and_the_worker(tmp_path: Path) -> None:
    assert value(command(tmp_path), "-name") == "guest=cumulus.c0ffee.job-7,process=cumulus-job-7"


def test_ports_are_on_loopback_only_and_chosen_by_the_system(tmp_path: Path) -> None:
    forwards = [argument for argument in command(tmp_path) if "hostfwd" in argument]
    assert forwards == ["user,id=net,hostfwd=tcp:127.0.0.1:0-:22"]


def test_a_path_with_a_comma_stays_one_path(tmp_path: Path) -> None:
    arguments = command(tmp_path, disk="a,b=c.qcow2")
    assert json.loads(value(arguments, "-blockdev"))["file"]["filename"] == str(tmp_path / "a,b=c.qcow2")


def test_a_clone_maps_the_memory_file_privately_and_its_origin_shared(tmp_path: Path) -> None:
    clone = json.loads(value(command(tmp_path / "a", Memory(tmp_path / "ram"), incoming=True), "-object"))
    origin = json.loads(value(command(tmp_path / "b", Memory(tmp_path / "ram", shared=True)), "-object"))
    assert (clone["mem-path"], clone["share"]) == (str(tmp_path / "ram"), False)
    assert (origin["mem-path"], origin["share"]) == (str(tmp_path / "ram"), True)


def test_only_a_clone_waits_for_a_state(tmp_path: Path) -> None:
    assert "-incoming" not in command(tmp_path / "a")
    assert value(command(tmp_path / "b", incoming=True), "-incoming") == "defer"
