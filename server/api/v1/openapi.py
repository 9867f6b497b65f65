"""The API's description: an OpenAPI 3.1 document made of the operations themselves, and what a person reads of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from cumulus_client.operations import PREFIX, Download, Operation

SCHEMAS = "#/components/schemas/"
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `code` is for programs, `detail` for people, `field` names the input at fault.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "field": {"type": "string"},
        "hint": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "All faults, where there may be several."},
    },
}
SECURITY: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API token: `Authorization: Bearer cml_...`"},
}
AnyOperation = Operation[Any, Any] | Download[Any]
_Model = tuple[type[BaseModel], JsonSchemaMode]


class _Schemas:
    """The schemas of all models, each under a name of its own: two models of different nouns may be called the same."""

    def __init__(self, operations: list[AnyOperation]) -> None:
        wanted: set[_Model] = {(one.takes, "validation") for one in operations}
        wanted |= {(one.gives, "serialization") for one in operations if isinstance(one, Operation)}
        in_order = sorted(wanted, key=lambda pair: f"{pair[0].__module__}.{pair[0].__name__}")
        self._refs, found = models_json_schema(in_order, ref_template=SCHEMAS + "{model}")
        self.all: dict[str, Any] = found.get("$defs", {})

    def ref(self, model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
        """Where a model's schema is."""
        return dict(self._refs[model, mode])


def document(operations: Iterable[Operation[Any, Any]], downloads: Iterable[Download[Any]], version: str) -> dict[str, Any]:
    """The OpenAPI document."""
    everything: list[AnyOperation] = [*operations, *downloads]
    paths: dict[str, dict[str, Any]] = {}
    schemas = _Schemas(everything)
    for one in everything:
        paths.setdefault(one.path, {})[one.method.lower()] = _described(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cumulus",
            "version": version,
            "description": "Runs programs on machines of a cloud. Times: Unix seconds.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "tags": [{"name": noun} for noun in dict.fromkeys(map(_noun, everything))],
        "paths": paths,
        "components": {"schemas": {**schemas.all, "Problem": PROBLEM}, "securitySchemes": SECURITY},
    }


def _described(one: AnyOperation, schemas: _Schemas) -> dict[str, Any]:
    parts = _parts(one.takes)
    body = isinstance(one, Operation) and one.has_body
    described: dict[str, Any] = {
        "operationId": one.name,
        "tags": [_noun(one)],
        "summary": one.summary,
        "description": f"{_about(one.takes)} Takes a token with the scope `{one.scope}`.",
        "parameters": [_parameter(name, parts, "path") for name in one.path_fields],
        "responses": {
            str(one.status) if isinstance(one, Operation) else "200": _success(one, schemas),
            "4XX": _refusal("Refused"),
            "5XX": _refusal("Failed"),
        },
    }
    if one.method == "GET":
        described["responses"]["304"] = {"description": "Not changed since the tag in If-None-Match."}
    rest = [name for name in parts.properties if name not in one.path_fields]
    if not body:
        described["parameters"] += [_parameter(name, parts, "query") for name in rest]
    elif rest:
        content = _json(_body(one.takes, parts, rest, schemas))
        described["requestBody"] = {"required": bool(parts.required & set(rest)), "content": content}
    return described


@dataclass(frozen=True)
class _Parts:
    """A model's fields as JSON Schema."""

    properties: dict[str, Any]
    required: set[str]


def _parts(model: type[BaseModel]) -> _Parts:
    schema = model.model_json_schema(ref_template=SCHEMAS + "{model}")
    return _Parts(schema.get("properties", {}), set(schema.get("required", ())))


def _parameter(name: str, parts: _Parts, where: str) -> dict[str, Any]:
    schema = {key: value for key, value in parts.properties[name].items() if key != "title"}
    described = {"name": name, "in": where, "required": where == "path" or name in parts.required, "schema": schema}
    if text := schema.pop("description", ""):
        described["description"] = text
    return described


def _body(model: type[BaseModel], parts: _Parts, names: list[str], schemas: _Schemas) -> dict[str, Any]:
    """The fields of the body alone; where none stands in the path that is the model itself."""
    if len(names) == len(parts.properties):
        return schemas.ref(model, "validation")
    required = sorted(parts.required & set(names))
    properties = {name: parts.properties[name] for name in names}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _success(one: AnyOperation, schemas: _Schemas) -> dict[str, Any]:
    if isinstance(one, Download):
        return {"description": "The file, or a part of it.", "content": {one.media_type: {"schema": {"type": "string"}}}}
    return {"description": "Done.", "content": _json(schemas.ref(one.gives, "serialization"))}


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/problem+json": {"schema": {"$ref": f"{SCHEMAS}Problem"}}}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _noun(one: AnyOperation) -> str:
    return one.name.partition(".")[0]


@dataclass(frozen=True)
class Row:
    """A field as a person reads it."""

    name: str
    where: str
    type: str
    required: bool
    text: str


@dataclass(frozen=True)
class Entry:
    """An operation as a person reads it."""

    name: str
    method: str
    path: str
    summary: str
    scope: str
    takes: tuple[Row, ...]
    about: str
    gives: str


def entries(operations: Iterable[AnyOperation]) -> Iterator[Entry]:
    """What the page shows of each operation."""
    for one in operations:
        parts = _parts(one.takes)
        rows = (_row(name, one, parts) for name in parts.properties)
        gives = one.gives.__name__ if isinstance(one, Operation) else one.media_type
        yield Entry(one.name, one.method, PREFIX + one.path, one.summary, one.scope, tuple(rows), _about(one.takes), gives)


def _about(model: type[BaseModel]) -> str:
    """What its fields mean, as the model says."""
    return " ".join((model.__doc__ or "").replace("``", "").split())


def _row(name: str, one: AnyOperation, parts: _Parts) -> Row:
    in_body = isinstance(one, Operation) and one.has_body
    where = "path" if name in one.path_fields else "body" if in_body else "query"
    schema = parts.properties[name]
    return Row(name, where, kind_of(schema), name in parts.required, str(schema.get("description", "")))


def kind_of(schema: dict[str, Any]) -> str:
    """A JSON Schema's type in a word or two."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(kind_of, schema["anyOf"])))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))
