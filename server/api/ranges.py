"""The part of a file that a request asks for."""

from http import HTTPStatus
from typing import cast

from flask import Response, request
from werkzeug.datastructures import Range
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper


def ranged(response: Response, tag: str = "") -> Response:
    """An answer made from a file, or the part of it that is asked for. Raises RequestedRangeNotSatisfiable.

    ``tag``: of the file's content; a part is given only of the file that the client began with, where it says which that was.
    """
    wanted = request.range
    response.headers["Accept-Ranges"] = "bytes"
    is_same = "If-Range" not in request.headers or bool(tag and request.if_range.etag == tag)
    if wanted and wanted.units == "bytes" and len(wanted.ranges) == 1 and is_same:
        _shorten(response, wanted)
    return response


def _shorten(response: Response, wanted: Range) -> None:
    """Send a part only, still from the file to the socket: a generator would hold a thread for as long as the client reads.

    Raises RequestedRangeNotSatisfiable.
    """
    size = response.content_length or 0
    start = wanted.ranges[0][0]
    if start < 0:  # the last bytes, as many as there are
        wanted = Range(wanted.units, [(max(start, -size), None)])
    part = wanted.range_for_length(size)
    if part is None:
        response.close()
        raise RequestedRangeNotSatisfiable(size)
    cast("FileWrapper", response.response).file.seek(part[0])
    response.status_code = HTTPStatus.PARTIAL_CONTENT
    response.content_length = part[1] - part[0]
    response.content_range = wanted.make_content_range(size)
