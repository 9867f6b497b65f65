"""What a template is made from has a name that changes with it."""

import shutil
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from server.workers.clouds.build_hash import build_hash


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    """The playbooks of a checkout that lies elsewhere."""
    shutil.copytree(CHECKOUT / "infra" / "ansible", tmp_path / "infra" / "ansible")
    return tmp_path / "infra" / "ansible"


def recipe(playbooks: Path) -> str:
    return build_hash(checkout=playbooks.parent.parent)


def test_the_recipe_is_the_same_wherever_the_checkout_lies(playbooks: Path) -> None:
    first = recipe(playbooks)
    assert first == build_hash()
    assert len(first) == 64


def test_another_role_is_another_recipe(playbooks: Path) -> None:
    first = recipe(playbooks)
    with (playbooks / "roles/worker_base/tasks/main.yml").open("a") as tasks:
        tasks.write("# more\n")
    assert recipe(playbooks) != first


def test_what_is_only_read_by_people_changes_nothing(playbooks: Path) -> None:
    first = recipe(playbooks)
    (playbooks / "roles/worker_base/README.md").write_text("other words\n")
    (playbooks / "roles/worker_base/files/.cache").mkdir()
    (playbooks / "roles/worker_base/files/.cache/x").write_text("of some tool\n")
    assert recipe(playbooks) == first


def test_what_is_the_clouds_own_counts_too(playbooks: Path) -> None:
    own = playbooks.parent / "own.py"
    own.write_text("first")
    first = build_hash(own, checkout=playbooks.parent.parent)
    own.write_text("other")
    assert first != build_hash(own, checkout=playbooks.parent.parent) != recipe(playbooks)
