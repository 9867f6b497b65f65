"""Before the controller runs: a snapshot to make workers from. With ``--template``: what `make template` does."""

import sys

from programs.encoding import begin_in_utf8
from programs.interruption import GIVEN_UP, interruption_means
from scripts.lifetime import wait_for_demo
from server.app import make_trial
from server.catalog.apps import Catalog
from server.cli.shared.terminal import progress_on
from server.engine.installed_apps import InstalledApps
from server.entry import guarded
from server.errors import SetupMissing, TemplateMissing
from server.progress import Progress
from server.settings import Settings, load_settings
from server.workers.clouds.base import Cloud
from server.workers.clouds.registry import make_cloud


def ensure_snapshot(cloud: Cloud, catalog: Catalog, progress: Progress) -> None:
    """Build template and snapshot where there are none. Raises SetupMissing, InfrastructureError."""
    if problems := cloud.problems():
        raise SetupMissing("this computer is not ready:\n- " + "\n- ".join(problems))
    try:
        if hint := cloud.images.check():
            progress.say(f"Note: {hint}")
        installed, optional = InstalledApps(catalog, cloud), catalog.optional_programs()
        for hint in filter(None, (installed.hint(), *(why for app, why in installed.missing().items() if app not in optional))):
            progress.say(f"Note: {hint}")
    except TemplateMissing:
        maker = cloud.images.template()
        maker.build(progress, fresh=False)
        if not _is_there(cloud):  # another command may have made it while this one waited
            maker.take_snapshot(make_trial(catalog), progress)


def _is_there(cloud: Cloud) -> bool:
    try:
        cloud.images.check()
    except TemplateMissing:
        return False
    return True


def main() -> None:
    """Make what is missing, or with ``--template`` build or boot the template. Raises CumulusError, Interrupted.

    ``--demo``: called by a demonstration; other callers wait until none runs.
    """
    with interruption_means(GIVEN_UP):
        make(load_settings(), set(sys.argv[1:]), progress_on(sys.stderr))


def make(settings: Settings, options: set[str], progress: Progress) -> None:
    """The same, without handling interruptions. Raises CumulusError."""
    cloud = make_cloud(settings)
    if "--template" in options:
        maker = cloud.images.template()
        if maker.exists():
            progress.say(maker.boot(progress))
        else:
            maker.build(progress)
        return
    if "--demo" not in options:
        wait_for_demo(settings.home, progress.say)
    ensure_snapshot(cloud, Catalog(settings.apps), progress)


if __name__ == "__main__":
    begin_in_utf8()
    sys.exit(guarded(main))
