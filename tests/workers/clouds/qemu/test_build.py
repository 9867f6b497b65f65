"""What a template is made from has a name that changes with it."""

import shutil
from pathlib import Path

import pytest

from server.workers.clouds.qemu import build
from server.workers.clouds.qemu.build import recipe


@pytest.fixture
def playbooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "infra" / "ansible"
    shutil.copytree(build.PLAYBOOKS, copy)
    module = shutil.copy(build.__file__, tmp_path)
    monkeypatch.setattr(build, "PLAYBOOKS", copy)
    monkeypatch.setattr(build, "CHECKOUT", tmp_path)
    monkeypatch.setattr(build, "__file__", str(module))
    return copy


def test_the_recipe_is_the_same_wherever_the_checkout_lies(playbooks: Path) -> None:
    first = recipe()
    assert playbooks.is_dir()
    assert recipe() == first
    assert len(first) == 64


def test_another_role_is_another_recipe(playbooks: Path) -> None:
    first = recipe()
    with (playbooks / "roles/worker_base/tasks/main.yml").open("a") as tasks:
        tasks.write("# more\n")
    assert recipe() != first


def test_what_is_only_read_by_people_changes_nothing(playbooks: Path) -> None:
    first = recipe()
    (playbooks / "roles/worker_base/README.md").write_text("other words\n")
    (playbooks / "roles/worker_base/files/.cache").mkdir()
    (playbooks / "roles/worker_base/files/.cache/x").write_text("of some tool\n")
    assert recipe() == first
