"""Requests of the API from what was typed: what the API would not take is refused here, in its words."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from server.errors import InvalidInput

T = TypeVar("T", bound=BaseModel)


def asked(kind: type[T], **fields: Any) -> T:
    """The request. Raises InvalidInput that names the field."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, fault["loc"]))
        raise InvalidInput(f"{name}: {fault['msg']}" if name else str(fault["msg"]), field=name or None) from None
