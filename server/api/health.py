"""``/healthz``, and who may hear more of the installation than that it works."""

from collections.abc import Callable

from flask import Response, request

from server.api.desktop.refusals import UNAVAILABLE, failed
from server.api.identity.identification import Identification
from server.api.responses import answer
from server.db.errors import DATABASE_ERRORS
from server.errors import CumulusError
from server.storage.holding import StorageTaken

OUTSIDE = "the controller cannot work; its log says why"


class Health:
    """Answers everybody; those inside with details. ``inspect``: gives the answer with details, or an error."""

    def __init__(self, identification: Identification, inspect: Callable[[], Response]) -> None:
        self._identification = identification
        self._inspect = inspect

    def answer(self) -> Response:
        """200 while the controller works, else 503."""
        if self._is_inside():
            return self._inspect()
        try:
            found = self._inspect()
        except (CumulusError, StorageTaken, *DATABASE_ERRORS):
            return failed(OUTSIDE, "unavailable", UNAVAILABLE)
        if found.status_code == UNAVAILABLE:
            return failed(OUTSIDE, "unavailable", UNAVAILABLE)
        return answer({"status": "ok"})

    def for_insiders(self, view: Callable[[], Response]) -> Response:
        """What only trusted networks and administrators get. Raises an error with the status 401 or 403."""
        self._identification.require_administrator_or_trusted(request)
        return view()

    def _is_inside(self) -> bool:
        try:
            found = self._identification.by_credential(request)
        except CumulusError:
            return False
        return found is not None or self._identification.is_trusted(request)
