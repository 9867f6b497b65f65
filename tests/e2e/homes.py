"""Home folders with a template and a snapshot, for tests that make machines: built once, kept between runs.

A home has room for one controller, and some tests want all of its machines for themselves. So each group of tests
(tests/order.py) has a home of its own, at work beside the others'. The images of all are the same files on the disk.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from server.catalog.apps import Catalog
from server.settings import CHECKOUT, CloudName
from server.workers.clouds.qemu.images.build import template_hash
from server.workers.clouds.qemu.images.images import is_image, read_image
from server.workers.clouds.qemu.paths import QemuHome
from tests.order import GROUPS
from tests.trial_apps import trial_apps

FIRST = CHECKOUT / "var" / "e2e"
BUILT = FIRST / "ready.seconds"  # how long the last build took, with its snapshot
BUILD_LIMIT_S = 1200.0
SHARED_FROM = 1 << 20  # bytes; smaller files are copied, since tests write to some


def home_of(group: str) -> Path:
    """The home of a group of tests, ready for machines. Whoever asks first waits while the template is built."""
    assert group in GROUPS.values(), f"{group} is not named in tests/order.py"
    FIRST.mkdir(parents=True, exist_ok=True)
    with (FIRST / "tests.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_ready(FIRST):
            _build(FIRST)
        home = FIRST.with_name(f"e2e-{group}")
        if _promoted(home) != _promoted(FIRST):
            _share(FIRST, home)
        (home / "log").mkdir(exist_ok=True)
        return home


def _is_ready(folder: Path) -> bool:
    """A template of an older build would test what is no longer in the checkout; jobs of apps not tried there are refused."""
    home = QemuHome(folder)
    if not is_image(home.template) or read_image(home.template).build_hash != template_hash() or not _promoted(folder):
        return False
    tried, apps = read_image(home.current).smoke_results(), Catalog(trial_apps(folder / "apps"))
    optional = apps.optional_programs()
    return tried.are_known and not any(
        tried.lacks(app, command) for app, command in apps.version_commands() if app not in optional
    )


def _promoted(folder: Path) -> str:
    """Which image workers start from."""
    current = QemuHome(folder).current
    return read_image(current).sha256 if is_image(current) else ""


def _build(folder: Path) -> None:
    """As `make demo` does at its first time, with every app tried."""
    home, log, begin = QemuHome(folder), folder / "ready.log", time.monotonic()
    for old in (home.template, home.snapshots):
        shutil.rmtree(old, ignore_errors=True)
    given = {"CUMULUS_HOME": str(folder), "CUMULUS_CLOUD": CloudName.QEMU, "CUMULUS_APPS": str(trial_apps(folder / "apps"))}
    environment = {**os.environ, **given}
    with log.open("w") as output:
        command = [sys.executable, "-m", "scripts.ready"]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdout=output, stderr=output, timeout=BUILD_LIMIT_S, check=False
        )
    assert done.returncode == 0, log.read_text()
    BUILT.write_text(f"{time.monotonic() - begin:.1f}\n")


def _share(source: Path, home: Path) -> None:
    """Give another home the same images, without writing them a second time."""
    given, taking = QemuHome(source), QemuHome(home)
    for old in (taking.key.parent, taking.template, taking.snapshots):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(given.key.parent, taking.key.parent)  # the template lets its home's key in
    shutil.copytree(given.template, taking.template)  # machines write to it
    shutil.copytree(given.snapshots, taking.snapshots, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).stat().st_size >= SHARED_FROM:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
