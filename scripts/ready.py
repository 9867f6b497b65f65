"""Before the controller runs: a snapshot to make workers from. With ``--template``: what `make template` does."""

import sys

from server.app import make_cloud, make_trial
from server.catalog.apps import Catalog
from server.errors import CumulusError, SetupMissing, TemplateMissing
from server.progress import Progress
from server.settings import load_settings
from server.terminal import progress_on
from server.workers.clouds.base import Cloud


def ensure_snapshot(cloud: Cloud, catalog: Catalog, progress: Progress) -> None:
    """Build template and snapshot where there are none. Raises SetupMissing, InfrastructureError."""
    if problems := cloud.problems():
        raise SetupMissing("this computer is not ready:\n- " + "\n- ".join(problems))
    try:
        if hint := cloud.check_snapshot():
            progress.say(f"Note: {hint}")
    except TemplateMissing:
        maker = cloud.template()
        maker.build(progress, fresh=False)
        maker.take_snapshot(make_trial(catalog), progress)


def main() -> None:
    """Make what is missing, or with ``--template`` build or boot the template."""
    settings = load_settings()
    progress = progress_on(sys.stderr)
    cloud = make_cloud(settings)
    try:
        if "--template" in sys.argv[1:]:
            maker = cloud.template()
            if maker.exists():
                progress.say(maker.boot(progress))
            else:
                maker.build(progress)
        else:
            ensure_snapshot(cloud, Catalog(settings.apps), progress)
    except CumulusError as error:
        sys.exit(f"cumulus: {error.message}")
    except KeyboardInterrupt:
        sys.exit("interrupted: what was being made is given up, the next time begins it anew")


if __name__ == "__main__":
    main()
