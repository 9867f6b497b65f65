"""Files as the desktop client fetches them, and the names by which it asks for shared ones."""

import json
import re
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, cast

import structlog
from flask import Response, request, send_file

from server.api.ranges import ranged
from server.errors import InvalidInput
from server.services.principal import Principal
from server.services.shared_data import SharedData
from server.storage.logs.spliced import Spliced

MAX_NAMES = 10_000
MAX_NAMES_TEXT = 4_000_000  # characters of the JSON that gives them
MAX_FOUND = 100_000  # files behind the names
_NOT_IN_A_URL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
log = structlog.get_logger()


class SharedFiles:
    """The shared data, asked for by names."""

    def __init__(self, data: SharedData) -> None:
        self._data = data
        self._walking = threading.Lock()

    def behind(self, text: str) -> list[str]:
        """The files behind the names of a JSON list, folders walked. A long list takes memory, so one at a time.

        Raises InvalidInput.
        """
        names = _names(text)
        with self._walking:
            return list(self._each(names))

    def _each(self, names: list[str]) -> Iterator[str]:
        room = MAX_FOUND
        for name in names:
            found = sorted(islice(self._data.behind(Principal.desktop(""), name), room))
            room -= len(found)
            yield from found
        if room == 0:
            log.warning("a list of shared files ends early", route=request.path, files=MAX_FOUND)


def download(file: Path) -> Response:
    """A file as it lies on the disk, or the part of it that is asked for. Raises InvalidInput where it is none."""
    if not file.is_file():
        raise InvalidInput(f"{file.name!r} is not a file", field="path")
    response = send_file(
        file, mimetype="application/octet-stream", as_attachment=True, download_name=file.name, conditional=False
    )
    return ranged(response)


def log_download(found: Spliced, name: str) -> Response:
    """A log with all that is spliced into it, streamed under a name."""
    response = send_file(
        cast("IO[bytes]", found),
        mimetype="text/plain",
        as_attachment=True,
        download_name=name,
        conditional=False,
        etag=False,
    )
    response.content_length = found.size
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return ranged(response)


def can_be_fetched(path: str) -> bool:
    """Whether a result can be asked for. The runner stores no others, as earlier versions did; `cumulus get` copies all."""
    return _NOT_IN_A_URL.search(path) is None


def _names(text: str) -> list[str]:
    """The names, each once, as what they are called in the shared data. Raises InvalidInput."""
    try:
        names = json.loads(text) if len(text) <= MAX_NAMES_TEXT else None
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise InvalidInput("names is not a JSON list of file names", field="names")
    return list(dict.fromkeys(names))
