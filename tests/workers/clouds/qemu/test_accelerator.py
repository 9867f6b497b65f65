"""KVM is believed only where it ran something; what is known of it is remembered; the settings may know better."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.cloud_settings.qemu import Accelerator
from server.errors import SetupMissing
from server.workers.clouds.qemu import accelerator
from server.workers.clouds.qemu.accelerator import accel_problems, choose, described, find_accel, give_up_kvm, prove_kvm
from server.workers.clouds.qemu.host import probe
from server.workers.clouds.qemu.paths import QemuHome


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in QEMU's place whose behaviour under KVM the test writes; /dev/kvm is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(probe, "KVM_DEVICE", tmp_path / "bin")
    return folder / accelerator.QEMU


@pytest.fixture
def home(tmp_path: Path) -> QemuHome:
    return QemuHome(tmp_path / "home")


def behave(qemu: Path, script: str) -> None:
    version = 'case "$*" in *--version*) echo "QEMU emulator version 7.2.22 (Debian)"; exit 0;; esac\n'
    qemu.write_text(f'#!/bin/sh\necho "$*" >> {qemu}.calls\n{version}{script}\n')
    qemu.chmod(0o755)


def probes(qemu: Path) -> int:
    """How often a guest was run."""
    return sum("isa-debug-exit" in line for line in Path(f"{qemu}.calls").read_text().splitlines())


def test_a_guest_that_ran_is_proof(qemu: Path) -> None:
    behave(qemu, "exit 33")
    assert probe.probe(str(qemu)).why == ""


@pytest.mark.parametrize(("script", "code"), [("exit 134", 134), ("exit 0", 0), ("kill -ABRT $$", -6)])
def test_an_abort_is_not(qemu: Path, script: str, code: int) -> None:
    behave(qemu, script)
    assert probe.probe(str(qemu)) == probe.Verdict(f"the test guest failed under KVM (exit code {code})")


def test_a_guest_that_computes_too_long_is_not(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CPU_LIMIT_S", 0.1)
    behave(qemu, "while :; do :; done")
    assert probe.probe(str(qemu)) == probe.Verdict("the test guest took too long under KVM")


def test_a_guest_that_only_waits_for_its_turn_gets_it(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CPU_LIMIT_S", 0.2)
    behave(qemu, "sleep 0.6; exit 33")
    assert probe.probe(str(qemu)).why == ""


def test_a_computer_that_was_too_busy_is_probed_again_later(qemu: Path, home: QemuHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WALL_LIMIT_S", 0.2)
    behave(qemu, "exec sleep 20")
    begin = time.monotonic()
    choice = choose(home, now=lambda: 1000.0)
    assert time.monotonic() - begin < 5
    assert (choice.accel.is_kvm, choice.why) == (False, "the test guest did not end within 0 s under KVM")
    choose(home, now=lambda: 1000.0 + accelerator.AGAIN_S - 1)
    assert probes(qemu) == 1
    choose(home, now=lambda: 1000.0 + accelerator.AGAIN_S + 1)
    assert probes(qemu) == 2


def test_no_device_is_not_probed(qemu: Path, home: QemuHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    behave(qemu, "exit 33")
    monkeypatch.setattr(probe, "KVM_DEVICE", tmp_path / "nothing")
    assert choose(home).why == f"there is no {tmp_path / 'nothing'}"
    assert probes(qemu) == 0


def test_the_translation_cache_is_bounded_without_kvm(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 1")
    found = find_accel(home)
    assert (found.argument, found.cpu) == ("tcg,thread=multi,tb-size=128", "max")
    assert found.qemu == "7.2.22 (Debian)"


def test_the_probe_is_made_once(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 33")
    first = find_accel(home)
    calls = Path(f"{qemu}.calls").read_text()
    assert find_accel(home) == first
    assert (first.argument, first.cpu) == ("kvm", "host")
    assert Path(f"{qemu}.calls").read_text() == calls


def test_another_qemu_or_another_boot_is_probed_again(
    qemu: Path, home: QemuHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(qemu, "exit 33")
    assert find_accel(home).is_kvm
    behave(qemu, "sleep 0; exit 1")
    assert not find_accel(home).is_kvm
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(accelerator, "BOOT_ID", tmp_path / "boot_id")
    before = probes(qemu)
    find_accel(home)
    assert probes(qemu) == before + 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "x"}', '{"argument": 1}'])
def test_a_broken_memory_is_a_reason_to_probe(qemu: Path, home: QemuHome, text: str) -> None:
    behave(qemu, "exit 33")
    home.accel.parent.mkdir(parents=True)
    home.accel.write_text(text)
    assert find_accel(home).is_kvm


def test_what_an_older_version_remembered_is_a_reason_to_probe(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 33")
    find_accel(home)
    key = json.loads(home.accel.read_text())["key"]
    home.accel.write_text(json.dumps({"key": key, "qemu": "7.2.22", "argument": "tcg", "cpu": "max", "host": ""}))
    assert find_accel(home).is_kvm


def test_no_qemu_says_how_to_get_it(home: QemuHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupMissing, match="apt-get install qemu-system-x86"):
        find_accel(home)


def test_a_qemu_that_does_not_run_is_named(qemu: Path, home: QemuHome) -> None:
    qemu.write_text("#!/bin/sh\nexit 1\n")
    qemu.chmod(0o755)
    with pytest.raises(SetupMissing, match=f"{qemu} does not run"):
        find_accel(home)


@pytest.mark.parametrize(("setting", "argument"), [(Accelerator.KVM, "kvm"), (Accelerator.TCG, accelerator.TCG)])
def test_where_the_settings_say_it_nothing_is_probed(qemu: Path, tmp_path: Path, setting: Accelerator, argument: str) -> None:
    behave(qemu, "exit 1" if setting is Accelerator.KVM else "exit 33")
    home = QemuHome(tmp_path / "home", setting)
    assert find_accel(home).argument == argument
    assert probes(qemu) == 0
    assert not choose(home).may_fall_back


def test_emulation_that_the_settings_demand_is_told(qemu: Path, tmp_path: Path) -> None:
    behave(qemu, "exit 33")
    home = QemuHome(tmp_path / "home", Accelerator.TCG)
    assert described(home) == "machines are emulated, as the setting accelerator (CUMULUS_ACCELERATOR) says"


def test_kvm_that_the_settings_demand_is_told_only_where_it_passes_its_test(qemu: Path, tmp_path: Path) -> None:
    home = QemuHome(tmp_path / "home", Accelerator.KVM)
    behave(qemu, "exit 33")
    assert described(home) == "machines run with KVM, as the setting accelerator (CUMULUS_ACCELERATOR) says"
    behave(qemu, "exit 134")
    with pytest.raises(SetupMissing, match=r"but the test guest failed under KVM \(exit code 134\): set it to auto or tcg"):
        described(home)


def test_kvm_is_doubted_until_a_machine_has_come_up(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 33")
    assert choose(home).may_fall_back
    prove_kvm(home)
    assert not choose(home).may_fall_back
    give_up_kvm(home, "one machine failed")
    assert choose(home).accel.is_kvm


def test_kvm_that_was_given_up_is_remembered_with_its_reason_and_how_to_try_it_again(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 33")
    assert choose(home).accel.is_kvm
    give_up_kvm(home, "it brought no machine up")
    assert (choose(home).accel.argument, choose(home).why) == (accelerator.TCG, "it brought no machine up")
    text = described(home)
    assert "machines are emulated" in text
    assert "it brought no machine up" in text
    assert text.endswith(f"or now: rm {home.accel}")
    home.accel.unlink()
    assert choose(home).accel.is_kvm


def test_machines_that_are_made_beside_each_other_lose_nothing_that_is_known(
    qemu: Path, home: QemuHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one machine's probe runs, another machine comes up with KVM."""
    behave(qemu, "exit 33")

    def slow(_binary: str) -> probe.Verdict:
        prove_kvm(home)
        return probe.Verdict("")

    monkeypatch.setattr(accelerator, "probe", slow)
    assert choose(home).proven
    assert choose(home).proven


def test_first_machines_that_look_at_the_same_time_all_get_an_answer(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 33")
    for _ in range(5):
        home.accel.unlink(missing_ok=True)
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: find_accel(home).is_kvm, range(8)))


def test_who_only_looks_writes_nothing(qemu: Path, home: QemuHome) -> None:
    behave(qemu, "exit 33")
    assert described(home) == "machines run with KVM"
    assert not home.home.exists()


def test_kvm_that_is_demanded_and_not_there_is_a_problem_of_the_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "KVM_DEVICE", tmp_path / "nothing")
    assert accel_problems(Accelerator.AUTO) == accel_problems(Accelerator.TCG) == []
    (problem,) = accel_problems(Accelerator.KVM)
    assert problem.startswith("the setting accelerator (CUMULUS_ACCELERATOR) is kvm, but there is no ")
