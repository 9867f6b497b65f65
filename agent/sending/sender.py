"""Sending a batch: what is there already is compared, the rest is sent and gets its names, the source is looked at again.

Owns what follows from an outcome for a transfer. In which order things are sent is the queue's matter, how they are carried the
carrier's. What the storage has under a shared name is never replaced.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import structlog

from agent.queue.models import Transfer
from agent.queue.orders import DATA
from agent.queue.queue import Queue
from agent.queue.states import TransferState, Trouble
from agent.sending.carrier import Carrier
from agent.sending.parcels import Batch, Parcel, contents_of, is_new, is_same, proof
from agent.sending.rsync import AgentEnds, Children, Outcome
from agent.sending.rsync_failures import Diagnosis, diagnose
from agent.sending.rsync_output import Item, Progress
from agent.sending.staging import hold
from agent.settings import Settings, Verify
from agent.sources.paths import Root, shown
from agent.sources.survey import SourceAway, SourceUnusable, Writers, take

MAX_DELAY_S = 300.0
PROGRESS_S = 1.0
EXIT_PARTLY = 23  # rsync's
TAKEN = "The storage has something else named {name!r}: it is sent for this job alone."
log = structlog.get_logger()


class Sender:
    """Sends batches to one target."""

    def __init__(
        self,
        settings: Settings,
        roots: Iterable[Root],
        queue: Queue,
        carrier: Carrier,
        children: Children,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._roots = tuple(roots)
        self._queue = queue
        self._carrier = carrier
        self._children = children
        self._clock = clock

    def send(self, batch: list[Transfer]) -> None:
        """Bring a batch, moved to SENDING before, to its next state. Leaves nothing in SENDING, unless the agent ends."""
        try:
            with ExitStack() as stack:
                parcels = [parcel for transfer in batch if (parcel := self._hold(transfer, stack))]
                if parcels:
                    load = stack.enter_context(self._carrier.load([parcel.source for parcel in parcels]))
                    self._deliver(Batch(parcels, load, parcels[0].transfer.place))
        except AgentEnds:
            return  # the next agent takes it up
        except Exception as error:
            log.exception("a batch failed unexpectedly", names=[one.name for one in batch[:5]])
            for transfer in batch:  # those that have moved on meanwhile stay where they are
                self._again(transfer, Diagnosis(Trouble.INTERRUPTED, shown(f"{type(error).__name__}: {error}")))

    def _hold(self, transfer: Transfer, stack: ExitStack) -> Parcel | None:
        """The source, opened, if it is still as it was surveyed; else the transfer is moved where it belongs."""
        try:
            source = hold(transfer.source, transfer.name, self._roots)
        except (SourceUnusable, SourceAway) as error:
            self._without_source(transfer, error)
            return None
        stack.callback(source.close)
        if source.snapshot.fingerprint != transfer.fingerprint:
            self._changed(transfer)
            return None
        return Parcel(transfer, source, {file.path: file for file in source.snapshot.files})

    def _without_source(self, transfer: Transfer, error: SourceUnusable | SourceAway) -> None:
        if isinstance(error, SourceUnusable):
            self._fail(transfer, error.message)
        else:
            self._queue.again(transfer, TransferState.WAITING, error.message, self._clock())

    def _deliver(self, batch: Batch) -> None:
        """What is there already is compared, all else is sent."""
        looked = self._carrier.look(batch.load, batch.place, batch.transfers)
        if looked.code:
            return self._broken(batch.parcels, looked)
        there = set(json.loads(looked.told))
        absent = [parcel for parcel in batch.parcels if parcel.name not in there]
        present = [parcel for parcel in batch.parcels if parcel.name in there]
        to_send = absent + (self._settle(batch.only(present)) if present else [])
        if to_send:
            self._send(batch.only(to_send))

    def _settle(self, batch: Batch) -> list[Parcel]:
        """Compare with what the storage has: the same has arrived, a shared name with other content is taken; what is left."""
        compared = self._carrier.compare(batch.load, batch.place, batch.transfers)
        if compared.code and not self._is_of_another_kind(batch.parcels, compared):
            self._broken(batch.parcels, compared)
            return []
        sure = self._unchanged(batch.parcels)
        same = [parcel for parcel in sure if is_same(parcel, compared.items)]
        self._queue.arrived({one.transfer.id: contents_of(one, compared.items) for one in same}, self._clock())
        different = [parcel for parcel in sure if parcel not in same]
        self._keep_apart([parcel for parcel in different if parcel.is_shared])
        return [parcel for parcel in different if not parcel.is_shared]

    def _is_of_another_kind(self, parcels: list[Parcel], compared: Outcome) -> bool:
        """Whether rsync stumbled over a file where it looked into a folder, after it had told that it would replace it."""
        return compared.code == EXIT_PARTLY and len(parcels) == 1 and is_new(parcels[0], compared.items)

    def _keep_apart(self, parcels: list[Parcel]) -> None:
        """Each job that wants one of these gets it into its own input."""
        for parcel in parcels:
            text = TAKEN.format(name=parcel.name)
            log.info("a shared name is taken", name=parcel.name, detail=text)
            self._queue.taken(parcel.transfer, text, self._clock())

    def _send(self, batch: Batch, *, checksum: bool = False) -> None:
        watch = _Watch(self._queue, self._children, batch.parcels)
        outcome = self._carrier.send(batch.load, batch.place, batch.upload, batch.transfers, watch.heard, checksum=checksum)
        watch.ended()
        if outcome.code:
            self._broken(batch.parcels, outcome)
            return self._discard(batch)
        sure = self._unchanged(batch.parcels)
        proved = {one.transfer.id: contents_of(one, outcome.items) for one in sure if self._is_proved(one, outcome.items)}
        if doubtful := [parcel for parcel in sure if parcel.transfer.id not in proved]:
            different = self._compare(batch.only(doubtful), batch.upload, proved)
            if different and not checksum:
                return self._send(batch.only(different + [one for one in sure if one.transfer.id in proved]), checksum=True)
            for parcel in different:
                self._fail(parcel.transfer, Trouble.TARGET_DAMAGED.text)
        there = [parcel for parcel in sure if parcel.transfer.id in proved]
        if there:
            self._publish(batch.only(there), batch.upload, proved)
        self._discard(batch)

    def _discard(self, batch: Batch) -> None:
        """Remove what has arrived of a transfer that nobody will go on with: it failed, or was cancelled."""
        if self._queue.is_given_up(batch.parcels[0].transfer):
            self._carrier.discard(batch.place, batch.upload)

    def _compare(self, batch: Batch, upload: str, proved: dict[int, str]) -> list[Parcel]:
        """Compare by checksums what rsync did not; what is proved to be there is added, what differs is returned."""
        compared = self._carrier.compare(batch.load, batch.place, batch.transfers, upload)
        if compared.code:
            self._broken(batch.parcels, compared)
            return []
        same = [parcel for parcel in batch.parcels if is_same(parcel, compared.items)]
        proved |= {one.transfer.id: contents_of(one, compared.items) for one in same}
        return [parcel for parcel in self._unchanged(batch.parcels) if parcel not in same]

    def _publish(self, batch: Batch, upload: str, contents: dict[int, str]) -> None:
        """Give what has arrived its names. Where another agent was first, its file is compared as any that was there before."""
        wanted = self._queue.still_sending(batch.transfers)
        batch = batch.only([parcel for parcel in batch.parcels if parcel.transfer.id in wanted])
        outcome = self._carrier.publish(batch.load, batch.place, upload, batch.transfers, over=batch.place != DATA)
        if outcome.code:
            return self._broken(batch.parcels, outcome)
        taken = set(json.loads(outcome.told))
        given = [one.transfer.id for one in batch.parcels if one.name not in taken]
        self._queue.arrived({number: contents[number] for number in given}, self._clock())
        if late := [parcel for parcel in batch.parcels if parcel.name in taken]:
            self._settle(batch.only(late))

    def _unchanged(self, parcels: list[Parcel]) -> list[Parcel]:
        """Those whose source is what it was before rsync read it; the others are sent again once they are still."""
        writers = Writers()
        return [parcel for parcel in parcels if self._is_unchanged(parcel, writers)]

    def _is_unchanged(self, parcel: Parcel, writers: Writers) -> bool:
        transfer = parcel.transfer
        try:
            snapshot = take(transfer.source, self._roots)
        except (SourceUnusable, SourceAway) as error:
            self._without_source(transfer, error)
            return False
        is_same = snapshot.fingerprint == parcel.source.snapshot.fingerprint and parcel.source.is_unchanged()
        if is_same and writers.of(snapshot.real) is None:
            return True
        self._changed(transfer)
        return False

    def _is_proved(self, parcel: Parcel, items: dict[str, Item]) -> bool:
        """Whether rsync has compared all of it while it sent it."""
        return self._settings.verify is not Verify.ALWAYS and all(proof(file, items) for file in parcel.files.values())

    def _broken(self, parcels: list[Parcel], outcome: Outcome) -> None:
        found = diagnose(outcome.code, outcome.said)
        for parcel in parcels:
            transfer = parcel.transfer
            if found.trouble is Trouble.SOURCE_CHANGED or not parcel.source.is_unchanged():
                self._changed(transfer)
            elif found.trouble is Trouble.SOURCE_UNREADABLE and not self._unchanged([parcel]):
                continue  # it has told which one, and why
            elif found.trouble.retryable:
                self._again(transfer, found)
            elif len(parcels) > 1:  # which of them is at fault is told when each goes alone
                self._queue.again(transfer, TransferState.READY, found.text, self._clock(), alone=True)
            else:
                self._fail(transfer, found.text)

    def _again(self, transfer: Transfer, found: Diagnosis) -> None:
        """Try again later, for as long as the settings say after the last time that anything new got through."""
        now, row = self._clock(), Transfer.get_or_none(Transfer.id == transfer.id)
        if row is None or row.state != TransferState.SENDING:
            return
        if now - (row.failing_since or now) > self._settings.give_up_s:
            return self._fail(row, found.text)
        delay = backoff_s(self._settings.retry_delay_s, row.failures)
        log.warning("a transfer is tried again", name=row.name, trouble=str(found.trouble), detail=found.words, delay_s=delay)
        self._queue.again(row, TransferState.READY, found.text, now, delay_s=delay)

    def _changed(self, transfer: Transfer) -> None:
        log.info("a source was changed while it was sent", name=transfer.name)
        self._queue.again(transfer, TransferState.WAITING, Trouble.SOURCE_CHANGED.text, self._clock())

    def _fail(self, transfer: Transfer, why: str) -> None:
        log.warning("a transfer failed", name=transfer.name, detail=why)
        self._children.end(self._queue.fail(transfer, why, self._clock()))


def backoff_s(first_s: float, failures: int) -> float:
    """Seconds before another try after so many that failed: doubled with each, five minutes at most."""
    return min(MAX_DELAY_S, first_s * 2.0 ** min(failures, 20))


class _Watch:
    """Tells the queue how far a run is, once a second at most."""

    def __init__(self, queue: Queue, children: Children, parcels: list[Parcel]) -> None:
        self._queue = queue
        self._children = children
        self._parcels = parcels
        self._same = 0
        self._sent = 0
        self._told = 0.0
        self._before = parcels[0].transfer.sent  # further than that: the way is good again

    def heard(self, event: Item | Progress) -> None:
        """One event of the run."""
        if isinstance(event, Progress):
            self._sent = event.bytes
        elif event.is_file and event.is_same:
            self._same += event.size
        if time.monotonic() - self._told >= PROGRESS_S:
            self.ended()

    def ended(self) -> None:
        """Write down how far it is; of small files that go together nobody asks."""
        self._told = time.monotonic()
        if len(self._parcels) == 1 and self._sent:
            there = self._same + self._sent
            transfer = self._parcels[0].transfer.id
            if not self._queue.note_sent(transfer, there, further=there > self._before):
                self._children.end([transfer])  # cancelled in the moment before rsync began
