"""Sending a batch: what is there already is compared, the rest is sent and gets its names, the source is looked at again.

Decides what follows from an outcome for a transfer. The queue decides the order, the carrier how files travel. Nothing that the
storage has under a shared name is ever replaced.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import structlog

from agent.queue.models import Transfer
from agent.queue.orders import DATA
from agent.queue.queue import Queue
from agent.queue.states import FailureKind
from agent.sending.carrier import Carrier
from agent.sending.children import AgentEnds, Children, Outcome
from agent.sending.failures import Failures
from agent.sending.parcels import Batch, Parcel, contents_of, is_new, is_same, proof
from agent.sending.progress import SendingProgress
from agent.sending.rsync_failures import Diagnosis
from agent.sending.rsync_output import Item
from agent.sending.staging import hold
from agent.settings import Settings, Verify
from agent.sources.paths import Root, printable
from agent.sources.survey import SourceAway, SourceUnusable

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
        self._failures = Failures(settings, self._roots, queue, children, clock)

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
                self._failures.again(transfer, Diagnosis(FailureKind.INTERRUPTED, printable(f"{type(error).__name__}: {error}")))

    def _hold(self, transfer: Transfer, stack: ExitStack) -> Parcel | None:
        """The source, opened, if it is still as it was surveyed; else the transfer is moved where it belongs."""
        try:
            source = hold(transfer.source, transfer.name, self._roots)
        except (SourceUnusable, SourceAway) as error:
            self._failures.without_source(transfer, error)
            return None
        stack.callback(source.close)
        if source.snapshot.fingerprint != transfer.fingerprint:
            self._failures.changed(transfer)
            return None
        return Parcel(transfer, source, {file.path: file for file in source.snapshot.files})

    def _deliver(self, batch: Batch) -> None:
        """What is there already is compared, all else is sent."""
        listed = self._carrier.list_taken(batch.load, batch.place, batch.transfers)
        if listed.code:
            return self._failures.broken(batch.parcels, listed)
        there = set(json.loads(listed.answer))
        absent = [parcel for parcel in batch.parcels if parcel.name not in there]
        present = [parcel for parcel in batch.parcels if parcel.name in there]
        to_send = absent + (self._reconcile(batch.only(present)) if present else [])
        if to_send:
            self._send(batch.only(to_send))

    def _reconcile(self, batch: Batch) -> list[Parcel]:
        """Compare with what the storage has: the same has arrived, a shared name with other content is taken; what is left."""
        compared = self._carrier.compare(batch.load, batch.place, batch.transfers)
        if compared.code and not self._is_of_another_kind(batch.parcels, compared):
            self._failures.broken(batch.parcels, compared)
            return []
        sure = self._failures.unchanged(batch.parcels)
        same = [parcel for parcel in sure if is_same(parcel, compared.items)]
        self._queue.transfers.arrived({one.transfer.id: contents_of(one, compared.items) for one in same}, self._clock())
        different = [parcel for parcel in sure if parcel not in same]
        self._keep_apart([parcel for parcel in different if parcel.is_shared])
        return [parcel for parcel in different if not parcel.is_shared]

    def _is_of_another_kind(self, parcels: list[Parcel], compared: Outcome) -> bool:
        """Whether rsync met a file where it expected a folder, after reporting that it would replace it."""
        return compared.code == EXIT_PARTLY and len(parcels) == 1 and is_new(parcels[0], compared.items)

    def _keep_apart(self, parcels: list[Parcel]) -> None:
        """Each job that wants one of these gets it into its own input."""
        for parcel in parcels:
            text = TAKEN.format(name=parcel.name)
            log.info("a shared name is taken", name=parcel.name, detail=text)
            self._queue.transfers.taken(parcel.transfer, text, self._clock())

    def _send(self, batch: Batch, *, checksum: bool = False) -> None:
        watch = SendingProgress(self._queue, self._children, batch.parcels)
        outcome = self._carrier.send(batch.load, batch.place, batch.upload, batch.transfers, watch.heard, checksum=checksum)
        watch.ended()
        if outcome.code:
            self._failures.broken(batch.parcels, outcome)
            return self._discard(batch)
        sure = self._failures.unchanged(batch.parcels)
        proved = {one.transfer.id: contents_of(one, outcome.items) for one in sure if self._is_proved(one, outcome.items)}
        if doubtful := [parcel for parcel in sure if parcel.transfer.id not in proved]:
            different = self._compare(batch.only(doubtful), batch.upload, proved)
            if different and not checksum:
                return self._send(batch.only(different + [one for one in sure if one.transfer.id in proved]), checksum=True)
            for parcel in different:
                self._failures.fail(parcel.transfer, FailureKind.TARGET_DAMAGED.text)
        there = [parcel for parcel in sure if parcel.transfer.id in proved]
        if there:
            self._publish(batch.only(there), batch.upload, proved)
        self._discard(batch)

    def _discard(self, batch: Batch) -> None:
        """Remove what has arrived of a transfer that failed or was cancelled."""
        if self._queue.transfers.is_given_up(batch.parcels[0].transfer):
            self._carrier.discard(batch.place, batch.upload)

    def _compare(self, batch: Batch, upload: str, proved: dict[int, str]) -> list[Parcel]:
        """Compare by checksums what rsync did not; what is proved to be there is added, what differs is returned."""
        compared = self._carrier.compare(batch.load, batch.place, batch.transfers, upload)
        if compared.code:
            self._failures.broken(batch.parcels, compared)
            return []
        same = [parcel for parcel in batch.parcels if is_same(parcel, compared.items)]
        proved |= {one.transfer.id: contents_of(one, compared.items) for one in same}
        return [parcel for parcel in self._failures.unchanged(batch.parcels) if parcel not in same]

    def _publish(self, batch: Batch, upload: str, contents: dict[int, str]) -> None:
        """Give what has arrived its names. Where another agent was first, its file is compared as any that was there before."""
        wanted = self._queue.transfers.still_sending(batch.transfers)
        batch = batch.only([parcel for parcel in batch.parcels if parcel.transfer.id in wanted])
        outcome = self._carrier.publish(batch.load, batch.place, upload, batch.transfers, over=batch.place != DATA)
        if outcome.code:
            return self._failures.broken(batch.parcels, outcome)
        taken = set(json.loads(outcome.answer))
        given = [one.transfer.id for one in batch.parcels if one.name not in taken]
        self._queue.transfers.arrived({number: contents[number] for number in given}, self._clock())
        if late := [parcel for parcel in batch.parcels if parcel.name in taken]:
            self._reconcile(batch.only(late))

    def _is_proved(self, parcel: Parcel, items: dict[str, Item]) -> bool:
        """Whether rsync has compared all of it while it sent it."""
        return self._settings.verify is not Verify.ALWAYS and all(proof(file, items) for file in parcel.files.values())
