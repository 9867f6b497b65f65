"""The XML of the apps as the desktop client needs it: it draws no list with a job whose app it does not have, or may not show.

Owns what stands in for an app that is gone or hidden while jobs still name it.
"""

from collections.abc import Container, Iterable, Mapping
from xml.sax.saxutils import quoteattr

from server.catalog.model import App
from server.catalog.xml import change_root

NOT_OFFERED = "No longer offered"


def offered(
    texts: Mapping[str, str], apps: Mapping[str, App], named: Iterable[str], not_installed: Container[str] = ()
) -> dict[str, str]:
    """``texts``: the XML of all apps and workflows by id; ``named``: the ids that some job names, each shown by the client.

    ``not_installed``: the ids of those that cannot be started, which are hidden otherwise.
    """
    found = {app: change_root(text, {"hidden": "true"}) if app in not_installed else text for app, text in texts.items()}
    for app_id in named:
        app = apps.get(app_id)
        if app_id not in texts:
            found[app_id] = _stand_in(app_id)
        elif app and (app.is_hidden or app_id in not_installed):
            found[app_id] = _shown(texts[app_id], app)
    return found


def _shown(text: str, app: App) -> str:
    """A hidden app with its whole form, so that its jobs can be looked at; what it is called says that it is not for new ones."""
    description = f"{NOT_OFFERED}. {app.description}".rstrip()
    return change_root(text, {"hidden": None, "category": NOT_OFFERED, "description": description})


def _stand_in(app_id: str) -> str:
    """Enough of an app for the client to show an old job of it; a category of its own says that it cannot be started."""
    name, _, version = app_id.rpartition("_")
    return (
        f"<tool id={quoteattr(app_id)} name={quoteattr(name or app_id)} version={quoteattr(version)} "
        f'command="" end_tag="" description="{NOT_OFFERED}" category="{NOT_OFFERED}"></tool>'
    )
