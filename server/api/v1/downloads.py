"""Files as the API gives them: whole, or the part that a Range header asks for while the content is still the same."""

from typing import IO, cast

from flask import Response, request, send_file

from server.api.ranges import ranged
from server.api.v1.binding import Payload


def download(found: Payload, media_type: str) -> Response:
    """The answer. Raises RequestedRangeNotSatisfiable."""
    response = send_file(
        cast("IO[bytes]", found.file),
        mimetype=media_type,
        as_attachment=True,
        download_name=found.name,
        conditional=False,
        etag=False,
    )
    response.content_length = found.size
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"
    if found.tag:
        response.set_etag(found.tag)
        if request.if_none_match.contains(found.tag):
            response.close()
            return Response(status=304, headers={"ETag": response.headers["ETag"]})
    return ranged(response, found.tag)
