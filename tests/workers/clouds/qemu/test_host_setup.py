"""What is missing is told with how to get it."""

from pathlib import Path

import pytest

from server.workers.clouds.qemu import host_setup
from server.workers.clouds.qemu.host_setup import build_problems, setup_problems


def test_each_missing_program_has_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_terraform: None) -> None:
    monkeypatch.setattr(host_setup, "SYSTEM_FOLDERS", ())
    text = "\n".join([*setup_problems(tmp_path), *build_problems(tmp_path)])
    for package in ("qemu-system-x86", "qemu-utils", "openssh-client", "nfs-ganesha", "mmdebstrap", "e2fsprogs"):
        assert f"apt-get install {package}" in text
    assert "neither terraform nor tofu" in text


def test_looking_creates_nothing(tmp_path: Path) -> None:
    setup_problems(tmp_path / "home")
    build_problems(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host_setup, "MIN_DISK_GB", 1e9)
    assert any(f"free below {tmp_path}" in problem for problem in setup_problems(tmp_path / "not" / "yet"))


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host_setup, "MIN_MEMORY_GB", 1e9)
    assert any("memory" in problem for problem in setup_problems(tmp_path))
