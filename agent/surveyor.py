"""Looking at the sources of what has been ordered until they are complete: from WAITING to READY, or to a failure."""

from collections.abc import Callable, Iterable

import structlog

from agent.models import Transfer
from agent.paths import Root
from agent.queue import Queue
from agent.rsync import Children
from agent.settings import Settings
from agent.survey import SourceAway, SourceUnusable, judge, open_for_writing, take

log = structlog.get_logger()


class Surveyor:
    """One look at all that waits for one; never waits itself."""

    def __init__(
        self, settings: Settings, roots: Iterable[Root], queue: Queue, children: Children, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._roots = tuple(roots)
        self._queue = queue
        self._children = children
        self._clock = clock

    def look(self, transfers: list[Transfer]) -> None:
        """Look at each source once."""
        for transfer in transfers:
            try:
                self._look(transfer)
            except Exception as error:
                log.exception("a source could not be looked at", name=transfer.name)
                self._postpone(transfer, f"{type(error).__name__}: {error}", "", 0.0)

    def _look(self, transfer: Transfer) -> None:
        try:
            snapshot = take(transfer.source, self._roots)
        except SourceUnusable as error:
            return self._fail(transfer, error.message)
        except SourceAway as error:
            return self._postpone(transfer, error.message, "", 0.0)
        now = self._clock()
        found = judge(
            snapshot,
            transfer.fingerprint,
            transfer.still_since,
            now,
            self._settings.stable_s,
            lambda: open_for_writing(transfer.source),
        )
        if found.is_still:
            self._queue.ready(transfer, snapshot.fingerprint, snapshot.bytes, is_folder=snapshot.is_folder, now=now)
        else:
            self._postpone(transfer, found.why, snapshot.fingerprint, found.since)

    def _postpone(self, transfer: Transfer, why: str, fingerprint: str, since: float) -> None:
        now = self._clock()
        waited = now - transfer.state_since
        if waited > self._settings.survey_limit_s:
            return self._fail(transfer, f"{transfer.name} was not complete after {waited / 60:.0f} minutes: {why}")
        self._queue.postpone_survey(transfer, now + self._settings.survey_interval_s, why, fingerprint, since)

    def _fail(self, transfer: Transfer, why: str) -> None:
        log.warning("a source cannot be sent", name=transfer.name, detail=why)
        self._children.end(self._queue.fail(transfer, why, self._clock()))
