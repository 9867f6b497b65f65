"""Before the controller runs: a snapshot to make workers from. With ``--template``: what `make template` does."""

import sys

import click

from server.app import make_cloud, make_trial
from server.catalog.apps import Catalog
from server.entry import guarded
from server.errors import SetupMissing, TemplateMissing
from server.settings import load_settings
from server.workers.clouds.base import Cloud


def say(text: str) -> None:
    """A line of progress."""
    click.echo(text, err=True)


def ensure_snapshot(cloud: Cloud, catalog: Catalog) -> None:
    """Build template and snapshot where there are none. Raises SetupMissing, InfrastructureError."""
    if problems := cloud.problems():
        raise SetupMissing("this computer is not ready:\n- " + "\n- ".join(problems))
    try:
        if hint := cloud.check_snapshot():
            say(f"Note: {hint}")
    except TemplateMissing:
        maker = cloud.template()
        maker.build(say, fresh=False)
        maker.take_snapshot(make_trial(catalog), say)


def main() -> None:
    """Make what is missing, or with ``--template`` build or boot the template."""
    settings = load_settings()
    cloud = make_cloud(settings)
    try:
        if "--template" in sys.argv[1:]:
            maker = cloud.template()
            if maker.exists():
                say(maker.boot(say))
            else:
                maker.build(say)
        else:
            ensure_snapshot(cloud, Catalog(settings.apps))
    except KeyboardInterrupt:
        say("what was being made is given up, the next time begins it anew")
        raise


if __name__ == "__main__":
    sys.exit(guarded(main))
