"""The cloud, as commands ask it."""

from contextlib import AbstractContextManager

from programs.border import tell
from server.cli.shared.output import PATIENCE_S, progress_on_stderr
from server.home.installation import known_id
from server.progress import Step
from server.settings import Settings, where_given
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud


def cloud_to_look_at(settings: Settings) -> Cloud:
    """The cloud for a command that does without an installation; where there is none, a line says so."""
    if not known_id(settings.home):
        text = f"there is no installation in {settings.home} ({where_given('home')}): what its machines have is not known"
        tell("cumulus", text)
    return registry.cloud_for_inspection(settings)


def asking_the_cloud() -> AbstractContextManager[Step]:
    """Around what waits for the cloud's answers: most come at once, and some take a minute."""
    return progress_on_stderr(PATIENCE_S).step("Asking the cloud")
