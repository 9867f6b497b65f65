"""The forms of the shipped apps as a page sends them."""

from typing import Any

from server.catalog.apps import Catalog
from server.catalog.forms import filled
from server.settings import CHECKOUT

CATALOG = Catalog(CHECKOUT / "apps")


def untouched_form(app_id: str, **changes: Any) -> dict[str, Any]:
    """A form in which somebody has changed only this."""
    return filled(CATALOG.get(app_id), changes)
