"""KVM is believed only where it ran something, and quickly."""

import os
import time
from pathlib import Path

import pytest

from server.errors import SetupMissing
from server.workers.clouds.qemu import accel
from server.workers.clouds.qemu.accel import find_accel, kvm_works


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in QEMU's place whose behaviour under KVM the test writes; /dev/kvm is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path / "bin")
    return folder / accel.QEMU


def behave(qemu: Path, script: str) -> None:
    version = 'case "$*" in *--version*) echo "QEMU emulator version 7.2.22 (Debian)"; exit 0;; esac\n'
    qemu.write_text(f'#!/bin/sh\necho "$*" >> {qemu}.calls\n{version}{script}\n')
    qemu.chmod(0o755)


def test_a_guest_that_ran_is_proof(qemu: Path) -> None:
    behave(qemu, "exit 33")
    assert kvm_works(str(qemu))


@pytest.mark.parametrize("script", ["exit 134", "exit 0", "kill -ABRT $$"])
def test_an_abort_is_not(qemu: Path, script: str) -> None:
    behave(qemu, script)
    assert not kvm_works(str(qemu))


def test_a_guest_that_takes_too_long_is_not(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "PROBE_LIMIT_S", 0.2)
    behave(qemu, "exec sleep 20; exit 33")
    begin = time.monotonic()
    assert not kvm_works(str(qemu))
    assert time.monotonic() - begin < 5


def test_no_device_is_not_probed(qemu: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    behave(qemu, "exit 33")
    monkeypatch.setattr(accel, "KVM_DEVICE", tmp_path / "nothing")
    assert not kvm_works(str(qemu))


def test_the_translation_cache_is_bounded_without_kvm(qemu: Path, tmp_path: Path) -> None:
    behave(qemu, "exit 1")
    found = find_accel(tmp_path / "accel.json")
    assert (found.argument, found.cpu) == ("tcg,thread=multi,tb-size=128", "max")
    assert found.qemu == "7.2.22 (Debian)"


def test_the_probe_is_made_once(qemu: Path, tmp_path: Path) -> None:
    behave(qemu, "exit 33")
    first = find_accel(tmp_path / "accel.json")
    calls = (tmp_path / "bin" / f"{qemu.name}.calls").read_text()
    assert find_accel(tmp_path / "accel.json") == first
    assert (first.argument, first.cpu) == ("kvm", "host")
    assert (tmp_path / "bin" / f"{qemu.name}.calls").read_text() == calls


def test_another_qemu_or_another_boot_is_probed_again(qemu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(qemu, "exit 33")
    assert find_accel(tmp_path / "accel.json").argument == "kvm"
    behave(qemu, "sleep 0; exit 1")
    assert find_accel(tmp_path / "accel.json").argument.startswith("tcg")
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(accel, "BOOT_ID", tmp_path / "boot_id")
    calls = (tmp_path / "bin" / f"{qemu.name}.calls").read_text()
    find_accel(tmp_path / "accel.json")
    assert (tmp_path / "bin" / f"{qemu.name}.calls").read_text() != calls


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "x"}', '{"argument": 1}'])
def test_a_broken_cache_is_a_reason_to_probe(qemu: Path, tmp_path: Path, text: str) -> None:
    behave(qemu, "exit 33")
    (tmp_path / "accel.json").write_text(text)
    assert find_accel(tmp_path / "accel.json").argument == "kvm"


def test_no_qemu_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupMissing, match="apt-get install qemu-system-x86"):
        find_accel(tmp_path / "accel.json")
