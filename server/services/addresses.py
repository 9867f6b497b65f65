"""Where people reach the controller."""

from server.home.running import running_controller
from server.settings import Settings


def public_url(settings: Settings) -> str:
    """By the setting, else where the controller answers, or would."""
    if settings.public_url:
        return settings.public_url
    if running := running_controller(settings.home):
        return running.url
    return f"http://{settings.host}:{settings.port}"
