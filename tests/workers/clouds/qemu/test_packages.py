"""Which packages the template gets, and the downloaded ones that the next build takes instead of downloading."""

import os
from pathlib import Path

import pytest
import yaml

from server.errors import InvalidInput
from server.settings import CHECKOUT
from server.workers.clouds.qemu.images.packages import ARCHIVES, BOOTABLE, KEPT_S, ROLES, PackageCache, template_packages
from tests.workers.clouds.qemu.building import small_disk

SHIPPED = CHECKOUT / "infra" / "ansible" / "roles"


def roles(folder: Path, **packages: object) -> Path:
    for role in ROLES:
        path = folder / role / "defaults" / "main.yml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump({f"{role}_packages": packages.get(role, []), f"{role}_other": 1}))
    return folder


def archives(root: Path) -> Path:
    (root / ARCHIVES).mkdir(parents=True)
    return root / ARCHIVES


def test_what_the_shipped_roles_install_is_installed_at_once() -> None:
    packages = template_packages(SHIPPED, {})
    for role in ROLES:
        defaults = yaml.safe_load((SHIPPED / role / "defaults" / "main.yml").read_text())
        assert set(defaults[f"{role}_packages"]) <= set(packages)
    assert {"linux-image-cloud-amd64", "comet-ms", "libpwiz-tools", "nfs-common"} <= set(packages)
    assert len(packages) == len(set(packages))


def test_the_template_variables_go_before_the_defaults(tmp_path: Path) -> None:
    made = roles(tmp_path, worker_base=["python3", "udev"], apps=["comet-ms"])
    assert template_packages(made, {"apps_packages": ["mine", "python3"]}) == (*BOOTABLE, "udev", "mine")


@pytest.mark.parametrize("value", ["comet-ms", {"comet-ms": 1}, [1], None])
def test_a_variable_that_is_no_list_of_names_is_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(InvalidInput, match="apps_packages must be a list"):
        template_packages(roles(tmp_path), {"apps_packages": value})


def test_a_downloaded_package_is_there_for_the_next_build(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache", now=lambda: 2 * KEPT_S)
    first = archives(tmp_path / "first")
    (first / "a_1_all.deb").write_text("a")
    os.utime(first / "a_1_all.deb", (1.0, 1.0))  # apt keeps the mirror's time
    (first / "partial").mkdir()
    (first / "partial" / "b_1_all.deb").write_text("half of b")
    cache.collect(tmp_path / "first")
    assert [path.name for path in first.glob("*.deb")] == []
    assert cache.offer(tmp_path / "second") == 1
    assert [path.name for path in (tmp_path / "second" / ARCHIVES).iterdir()] == ["a_1_all.deb"]
    assert (tmp_path / "second" / ARCHIVES / "a_1_all.deb").read_text() == "a"


def test_a_folder_on_another_file_system_serves_as_well(tmp_path: Path) -> None:
    with small_disk(tmp_path / "elsewhere", size_kb=1000):
        cache = PackageCache(tmp_path / "elsewhere" / "cache")
        (archives(tmp_path / "first") / "a_1_all.deb").write_text("a")
        cache.collect(tmp_path / "first")
        assert [path.name for path in cache.folder.iterdir()] == ["a_1_all.deb"]
        assert cache.offer(tmp_path / "second") == 1
        assert (tmp_path / "second" / ARCHIVES / "a_1_all.deb").read_text() == "a"


def test_packages_that_were_downloaded_long_ago_go(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache", now=lambda: 2 * KEPT_S)
    cache.folder.mkdir()
    for name, downloaded in (("old.deb", KEPT_S - 1), ("young.deb", KEPT_S + 1)):
        (cache.folder / name).write_text("x")
        os.utime(cache.folder / name, (downloaded, downloaded))
    cache.offer(tmp_path / "root")
    cache.collect(tmp_path / "root")
    assert [path.name for path in cache.folder.iterdir()] == ["young.deb"]


def test_nothing_downloaded_yet_offers_nothing(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache")
    assert cache.offer(tmp_path / "root") == 0
    cache.collect(tmp_path / "root")
    cache.clear()
