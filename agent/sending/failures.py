"""What follows for a transfer when its source has changed or is away, or when the way to the storage fails."""

from collections.abc import Callable, Iterable

import structlog

from agent.queue.models import Transfer
from agent.queue.queue import Queue
from agent.queue.states import FailureKind, TransferState
from agent.sending.children import Children, Outcome
from agent.sending.parcels import Parcel
from agent.sending.rsync_failures import Diagnosis, diagnose
from agent.settings import Settings
from agent.sources.paths import Root
from agent.sources.survey import SourceAway, SourceUnusable, Writers, take

MAX_DELAY_S = 300.0
log = structlog.get_logger()


class Failures:
    """Moves transfers that did not get through to where they belong."""

    def __init__(
        self, settings: Settings, roots: Iterable[Root], queue: Queue, children: Children, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._roots = tuple(roots)
        self._queue = queue
        self._children = children
        self._clock = clock

    def without_source(self, transfer: Transfer, error: SourceUnusable | SourceAway) -> None:
        """The source cannot be read: for good, or for now."""
        if isinstance(error, SourceUnusable):
            self.fail(transfer, error.message)
        else:
            self._queue.transfers.again(transfer, TransferState.WAITING, error.message, self._clock())

    def unchanged(self, parcels: list[Parcel]) -> list[Parcel]:
        """Those whose source is what it was before rsync read it; the others are sent again once they are still."""
        writers = Writers()
        return [parcel for parcel in parcels if self._is_unchanged(parcel, writers)]

    def broken(self, parcels: list[Parcel], outcome: Outcome) -> None:
        """A run of rsync failed: each of its transfers fails too, or is tried again, with the others or alone."""
        found = diagnose(outcome.code, outcome.stderr)
        for parcel in parcels:
            transfer = parcel.transfer
            if found.failure is FailureKind.SOURCE_CHANGED or not parcel.source.is_unchanged():
                self.changed(transfer)
            elif found.failure is FailureKind.SOURCE_UNREADABLE and not self.unchanged([parcel]):
                continue  # unchanged() has reported which one, and why
            elif found.failure.retryable:
                self.again(transfer, found)
            elif len(parcels) > 1:  # sending each alone shows which of them is at fault
                self._queue.transfers.again(transfer, TransferState.READY, found.text, self._clock(), alone=True)
            else:
                self.fail(transfer, found.text)

    def again(self, transfer: Transfer, found: Diagnosis) -> None:
        """Try again later, for as long as the settings say after the last time that anything new got through."""
        now, row = self._clock(), Transfer.get_or_none(Transfer.id == transfer.id)
        if row is None or row.state != TransferState.SENDING:
            return
        if now - (row.failing_since or now) > self._settings.give_up_s:
            return self.fail(row, found.text)
        delay = backoff_s(self._settings.retry_delay_s, row.failures)
        log.warning("a transfer is tried again", name=row.name, trouble=str(found.failure), detail=found.words, delay_s=delay)
        self._queue.transfers.again(row, TransferState.READY, found.text, now, delay_s=delay)

    def changed(self, transfer: Transfer) -> None:
        """The source was changed meanwhile: the transfer waits until it is complete again."""
        log.info("a source was changed while it was sent", name=transfer.name)
        self._queue.transfers.again(transfer, TransferState.WAITING, FailureKind.SOURCE_CHANGED.text, self._clock())

    def fail(self, transfer: Transfer, why: str) -> None:
        """The transfer cannot be done: what is sent for the same jobs ends, too."""
        log.warning("a transfer failed", name=transfer.name, detail=why)
        self._children.end(self._queue.transfers.fail(transfer, why, self._clock()))

    def _is_unchanged(self, parcel: Parcel, writers: Writers) -> bool:
        transfer = parcel.transfer
        try:
            snapshot = take(transfer.source, self._roots)
        except (SourceUnusable, SourceAway) as error:
            self.without_source(transfer, error)
            return False
        is_same = snapshot.fingerprint == parcel.source.snapshot.fingerprint and parcel.source.is_unchanged()
        if is_same and writers.of(snapshot.real) is None:
            return True
        self.changed(transfer)
        return False


def backoff_s(first_s: float, failures: int) -> float:
    """Seconds before another try after so many that failed: doubled with each, five minutes at most."""
    return min(MAX_DELAY_S, first_s * 2.0 ** min(failures, 20))
