"""Sending a batch: the source is looked at, rsync runs, the source is looked at again, what arrived is compared.

Owns what follows from an outcome for a transfer. In which order things are sent is the queue's matter.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from agent.manifest import Arrived, from_text, to_text
from agent.models import Transfer
from agent.orders import DATA
from agent.output import Item, Progress
from agent.paths import Root, parent
from agent.queue import Queue
from agent.rsync import AgentEnds, Children, Outcome, Rsync
from agent.settings import Settings, Verify
from agent.states import TransferState, Trouble
from agent.survey import Snapshot, SourceAway, SourceFile, SourceUnusable, Writers, take
from agent.troubles import Diagnosis, diagnose

MAX_DELAY_S = 300.0
PROGRESS_S = 1.0
NAME_TAKEN = "The storage has another file or folder named {name!r}: rename yours, then submit the job again."
DAMAGED = "What arrived in the storage is not what was sent, twice: its disk may be damaged."
log = structlog.get_logger()


@dataclass(frozen=True)
class Parcel:
    """A transfer with its source as it was when sending began."""

    transfer: Transfer
    snapshot: Snapshot
    files: dict[str, SourceFile]  # of the snapshot, by path
    known: dict[str, Arrived]  # what this agent sent from the same source to the same name before, by path
    is_own: bool  # whether it sent that name before, from this source, or nobody else can have


class Sender:
    """Sends batches to one target."""

    def __init__(
        self,
        settings: Settings,
        roots: Iterable[Root],
        queue: Queue,
        rsync: Rsync,
        children: Children,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._roots = tuple(roots)
        self._queue = queue
        self._rsync = rsync
        self._children = children
        self._clock = clock

    def send(self, batch: list[Transfer]) -> None:
        """Bring a batch, moved to SENDING before, to its next state. Leaves nothing in SENDING, unless the agent ends."""
        try:
            parcels = [parcel for transfer in batch if (parcel := self._look(transfer))]
            for is_own in (True, False):
                if chosen := [parcel for parcel in parcels if parcel.is_own is is_own]:
                    self._send(chosen, keep_existing=not is_own)
        except AgentEnds:
            return  # the next agent takes it up
        except Exception as error:
            log.exception("a batch failed unexpectedly", names=[one.name for one in batch[:5]])
            for transfer in batch:  # those that have moved on meanwhile stay where they are
                self._again(transfer, Diagnosis(Trouble.INTERRUPTED, f"{type(error).__name__}: {error}"))

    def _look(self, transfer: Transfer) -> Parcel | None:
        """The source, if it is still as it was surveyed; else the transfer is moved where it belongs."""
        snapshot = self._snapshot(transfer)
        if snapshot is None:
            return None
        if snapshot.fingerprint != transfer.fingerprint:
            self._changed(transfer)
            return None
        last = self._queue.last_put(transfer.place, transfer.name) if transfer.place == DATA else None
        same = last is not None and last.source == transfer.source
        known = {file.path: file for file in from_text(last.contents)} if last is not None and same else {}
        files = {file.path: file for file in snapshot.files}
        return Parcel(transfer, snapshot, files, known, is_own=same or transfer.place != DATA)

    def _snapshot(self, transfer: Transfer) -> Snapshot | None:
        try:
            return take(transfer.source, self._roots)
        except SourceUnusable as error:
            self._fail(transfer, error.message)
        except SourceAway as error:
            self._queue.again(transfer, TransferState.WAITING, error.message, self._clock())
        return None

    def _send(self, parcels: list[Parcel], *, keep_existing: bool, checksum: bool = False) -> None:
        first = parcels[0].transfer
        command = self._rsync.send(
            parent(first.source),
            [parcel.transfer.name for parcel in parcels],
            first.place,
            keep_existing=keep_existing,
            checksum=checksum,
            at_once=parcels[0].snapshot.is_folder,
        )
        watch = _Watch(self._queue, self._children, parcels)
        outcome = self._children.run(command, [parcel.transfer.id for parcel in parcels], watch.heard)
        watch.ended()
        if outcome.code:
            return self._broken([parcel.transfer for parcel in parcels], outcome)
        writers = Writers()
        same = [parcel for parcel in parcels if self._is_unchanged(parcel, writers)]
        self._check(same, outcome, resend=not checksum and not keep_existing)

    def _is_unchanged(self, parcel: Parcel, writers: Writers) -> bool:
        """Whether the source is what it was before rsync read it; else it is sent again once it is still."""
        snapshot = self._snapshot(parcel.transfer)
        if snapshot is None:
            return False
        if snapshot.fingerprint == parcel.snapshot.fingerprint and writers.of(parcel.transfer.source) is None:
            return True
        self._changed(parcel.transfer)
        return False

    def _check(self, parcels: list[Parcel], outcome: Outcome, *, resend: bool) -> None:
        """Compare by checksums what rsync did not; all that is proved to be there has arrived."""
        doubtful = [parcel for parcel in parcels if self._unproved(parcel, outcome.items)]
        unsure = {parcel.transfer.id for parcel in doubtful}
        complete = {one.transfer.id: _contents(one, outcome.items) for one in parcels if one.transfer.id not in unsure}
        if doubtful:
            compared = self._compare(doubtful)
            if compared.code:
                self._broken([parcel.transfer for parcel in doubtful], compared)
                doubtful = []
            equal = {path: item for path, item in compared.items.items() if item.is_same and item.checksum}
            complete |= {one.transfer.id: _contents(one, equal) for one in doubtful if all(path in equal for path in one.files)}
        self._queue.arrived(complete, self._clock())
        if different := [parcel for parcel in doubtful if parcel.transfer.id not in complete]:
            self._differ(different, resend=resend)

    def _compare(self, parcels: list[Parcel]) -> Outcome:
        first = parcels[0].transfer
        command = self._rsync.compare(parent(first.source), [parcel.transfer.name for parcel in parcels], first.place)
        return self._children.run(command, [parcel.transfer.id for parcel in parcels])

    def _unproved(self, parcel: Parcel, items: dict[str, Item]) -> bool:
        """Whether something of it was there already, and nobody has compared it since it was written."""
        return self._settings.verify is Verify.ALWAYS or any(_proof(path, parcel, items) is None for path in parcel.files)

    def _differ(self, parcels: list[Parcel], *, resend: bool) -> None:
        """What is there looked right by size and time and is not, or belongs to somebody else."""
        if resend:
            return self._send(parcels, keep_existing=False, checksum=True)
        writers = Writers()
        for parcel in parcels:
            if not self._is_unchanged(parcel, writers):  # it was changed while it was compared
                continue
            transfer = parcel.transfer
            self._fail(transfer, DAMAGED if parcel.is_own else NAME_TAKEN.format(name=transfer.name))

    def _broken(self, transfers: list[Transfer], outcome: Outcome) -> None:
        found = diagnose(outcome.code, outcome.said)
        for transfer in transfers:
            if found.trouble is Trouble.SOURCE_CHANGED:
                self._changed(transfer)
            elif found.trouble is Trouble.SOURCE_UNREADABLE and self._snapshot(transfer) is None:
                continue  # it has told which one, and why
            elif found.trouble.retryable:
                self._again(transfer, found)
            elif len(transfers) > 1:  # which of them is at fault is told when each goes alone
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
        self._put: list[int] = []
        self._unput = {one.transfer.name: one.transfer.id for one in parcels if one.transfer.place == DATA}
        self._before = parcels[0].transfer.sent  # further than that: the way is good again

    def heard(self, event: Item | Progress) -> None:
        """One event of the run."""
        if isinstance(event, Progress):
            self._sent = event.bytes
        elif event.is_file and event.is_same:
            self._same += event.size
        elif event.is_file and (transfer := self._unput.pop(event.path.partition("/")[0], None)):
            self._put.append(transfer)
        if time.monotonic() - self._told >= PROGRESS_S:
            self.ended()

    def ended(self) -> None:
        """Write down how far it is; of small files that go together nobody asks."""
        self._told = time.monotonic()
        if self._put:
            self._queue.note_put(self._put)
            self._put = []
        if len(self._parcels) == 1 and self._sent:
            there = self._same + self._sent
            transfer = self._parcels[0].transfer.id
            if not self._queue.note_sent(transfer, there, further=there > self._before):
                self._children.end([transfer])  # cancelled in the moment before rsync began


def _proof(path: str, parcel: Parcel, items: dict[str, Item]) -> str | None:
    """The checksum by which a file is known to be there as its source is; None where it is not known."""
    source, item, before = parcel.files[path], items.get(path), parcel.known.get(path)
    if item is None or item.size != source.size:
        return None
    if item.checksum:  # rsync has compared the whole file
        return item.checksum
    if item.is_same and before and (before.size, before.modified_ns) == (source.size, source.modified_ns):
        return before.checksum  # it was compared when it was sent, and both sides are as they were
    return None


def _contents(parcel: Parcel, items: dict[str, Item]) -> str:
    """What has arrived of a transfer, all of whose files are proved."""
    return to_text(
        Arrived(file.path, file.size, file.modified_ns, _proof(file.path, parcel, items) or "") for file in parcel.files.values()
    )
