"""A form as JSON Schema, for programs and pages that draw it. Owns the schema's words; what a field accepts is the control's."""

from collections.abc import Sequence
from typing import Any

from server.catalog.descriptions import FieldDescription
from server.catalog.files import FileList
from server.catalog.forms import control_of
from server.catalog.model import App

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(app: App, fields: Sequence[FieldDescription]) -> dict[str, Any]:
    """The schema of an app's settings. A value may be a text where the XML has a number: forms send texts."""
    properties = {key: _property(app, field, key) for field in fields for key in field.keys}
    return {
        "$schema": DIALECT,
        "title": f"{app.name} {app.version}",
        "description": app.description,
        "type": "object",
        "properties": properties,
        "required": [key for field in fields if field.required and not field.when for key in field.keys],
        "additionalProperties": False,
    }


def _property(app: App, field: FieldDescription, key: str) -> dict[str, Any]:
    """One value of a field. ``x-ui``: how it is drawn, and when it counts."""
    hints: dict[str, Any] = {"section": field.section, "control": field.type, "accepts": field.accepts}
    if len(field.keys) > 1:
        hints["part"] = field.keys.index(key)
    if field.when:
        hints["when"] = list(field.when)
    found = {"title": field.label, **_values(app, field, key), "x-ui": hints}
    if key in field.defaults:
        found["default"] = field.defaults[key]
    return found


def _values(app: App, field: FieldDescription, key: str) -> dict[str, Any]:
    options = [{"const": value, "title": label} for value, label in field.choices.items()]
    match field.type:
        case "select":
            return {"type": "string", "oneOf": options}
        case "checklist":
            return {"type": "array", "items": {"type": "string", "oneOf": options}, "uniqueItems": True}
        case "checkbox":
            return {"type": ["boolean", "string"], "enum": [True, False, "true", "false"]}
        case "number" | "range":
            bounds = {"minimum": field.minimum, "maximum": field.maximum}
            return {"type": ["number", "string"], **{name: float(text) for name, text in bounds.items() if text}}
        case "keyvalues":
            pair = {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 2, "maxItems": 2}
            return {"type": "array", "items": pair}
        case "filelist":
            return _files(app, field, key)
        case _:
            return {"type": "string"}


def _files(app: App, field: FieldDescription, key: str) -> dict[str, Any]:
    control = control_of(app, key)
    several = isinstance(control, FileList) and control.multiple
    path = {"type": "string", "minLength": 1}
    many: dict[str, Any] = {"type": "array", "items": path, "x-formats": list(field.formats)}
    return many if several else {**many, "maxItems": 1}
