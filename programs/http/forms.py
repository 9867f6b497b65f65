"""A form that is posted, read within limits: neither many fields nor many parts make more of it than was sent."""

from typing import Any
from urllib.parse import parse_qsl

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

MAX_FIELDS = 1000
MAX_ENCODED = 1 << 20  # bytes of a form in one line; the desktop client sends the other kind
MAX_ESCAPES = 100_000  # in it: each takes a hundred bytes while it is read


class BoundedForms(FormDataParser):
    """Reads both kinds of forms; werkzeug bounds the fields of one kind only. Raises RequestEntityTooLarge."""

    def _parse_urlencoded(self, stream: Any, mimetype: str, content_length: int | None, options: dict[str, str]) -> Any:  # noqa: ARG002  # werkzeug's
        text = stream.read(MAX_ENCODED + 1).decode(errors="replace")
        if text.count("&") >= MAX_FIELDS:
            raise RequestEntityTooLarge(f"A form has {MAX_FIELDS} fields at most")
        if len(text) > MAX_ENCODED or text.count("%") > MAX_ESCAPES:
            raise RequestEntityTooLarge("The form is too long for this encoding: send multipart/form-data")
        return stream, self.cls(parse_qsl(text, keep_blank_values=True, errors="replace")), self.cls()


class BoundedRequest(Request):
    """A request whose form is read within limits, and whose uploads are none."""

    form_data_parser_class = BoundedForms
    max_form_parts = MAX_FIELDS
