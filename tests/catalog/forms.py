"""The forms of the shipped apps as a client sends them where nobody has changed a field."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from server.catalog.apps import Catalog
from server.settings import CHECKOUT

CATALOG = Catalog(CHECKOUT / "apps")


def untouched_form(app_id: str) -> dict[str, Any]:
    """What a client sends of a form that nobody has changed: the defaults of all fields."""
    return dict(_defaults(ET.fromstring(CATALOG.texts()[app_id])))


def _defaults(tool: ET.Element) -> Iterator[tuple[str, Any]]:
    for field in tool.iter():
        name = field.get("name", "")
        if field.tag == "select":
            yield name, next(option.get("value") for option in field if option.get("selected") == "true")
        elif field.tag == "checkbox":
            yield name, field.get("value") == "true"
        elif field.tag == "number":
            yield name, field.get("value", "")
        elif field.tag == "range":
            yield from ((f"{name}-min", field.get("value", "")), (f"{name}-max", field.get("value2", "")))
        elif field.tag == "keyvalues":
            yield name, [[option.get("key"), option.get("value")] for option in field]
