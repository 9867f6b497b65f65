"""Looking at the sources of what has been ordered until they are complete: from WAITING to READY, or to a failure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from agent.queue.models import Transfer
from agent.queue.queue import Queue
from agent.sending.children import Children
from agent.settings import Settings
from agent.sources.paths import Root, printable
from agent.sources.survey import SourceAway, SourceUnusable, Stillness, Writers, judge, take

log = structlog.get_logger()


class Surveyor:
    """Looks once at each source that is due; never waits."""

    def __init__(
        self, settings: Settings, roots: Iterable[Root], queue: Queue, children: Children, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._roots = tuple(roots)
        self._queue = queue
        self._children = children
        self._clock = clock

    def survey(self, transfers: list[Transfer]) -> None:
        """Survey each source once; what was found is recorded in one transaction."""
        writers = Writers()
        found = [(transfer, self._inspect(transfer, writers)) for transfer in transfers]
        now = self._clock()
        with self._queue.together():
            for transfer, seen in found:
                if isinstance(seen, str):
                    self._fail(transfer, seen)
                elif seen.stillness.is_still:
                    self._ready(transfer, seen, now)
                else:
                    self._postpone(transfer, seen, now)

    def _inspect(self, transfer: Transfer, writers: Writers) -> "_Seen | str":
        """What the source is; a text where it can never be sent."""
        now = self._clock()
        try:
            snapshot = take(transfer.source, self._roots)
        except SourceUnusable as error:
            return error.message
        except SourceAway as error:
            return _Seen(Stillness(False, 0.0, error.message))
        except Exception as error:
            log.exception("a source could not be looked at", name=transfer.name)
            return _Seen(Stillness(False, 0.0, f"{type(error).__name__}: {error}"))
        holder = writers.of(snapshot.real)
        stillness = judge(snapshot, transfer.fingerprint, transfer.still_since, now, self._settings.stable_s, holder)
        return _Seen(stillness, snapshot.fingerprint, snapshot.bytes, snapshot.is_folder, snapshot.skipped)

    def _ready(self, transfer: Transfer, seen: "_Seen", now: float) -> None:
        if seen.skipped:
            log.info("a part of a source is not sent", name=transfer.name, skipped=[printable(path) for path in seen.skipped])
        self._queue.transfers.ready(
            transfer, seen.fingerprint, seen.bytes, is_folder=seen.is_folder, now=now, skipped=seen.skipped
        )

    def _postpone(self, transfer: Transfer, seen: "_Seen", now: float) -> None:
        waited, why = now - transfer.state_since, seen.stillness.why
        if waited > self._settings.survey_limit_s:
            return self._fail(transfer, f"{transfer.source} was not complete after {waited / 60:.0f} minutes: {why}")
        until = now + self._settings.survey_interval_s
        self._queue.transfers.postpone_survey(transfer, until, why, seen.fingerprint, seen.stillness.since)

    def _fail(self, transfer: Transfer, why: str) -> None:
        log.warning("a source cannot be sent", name=transfer.name, detail=why)
        self._children.end(self._queue.transfers.fail(transfer, why, self._clock()))


@dataclass(frozen=True)
class _Seen:
    """A source at one look."""

    stillness: Stillness
    fingerprint: str = ""
    bytes: int = 0
    is_folder: bool = False
    skipped: tuple[str, ...] = ()
