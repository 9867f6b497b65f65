"""How far a transfer is, while it is sent."""

import time

from agent.queue.queue import Queue
from agent.sending.children import Children
from agent.sending.parcels import Parcel
from agent.sending.rsync_output import Item, Progress

INTERVAL_S = 1.0


class SendingProgress:
    """Notes in the queue how far a run of rsync is, once a second at most."""

    def __init__(self, queue: Queue, children: Children, parcels: list[Parcel]) -> None:
        self._queue = queue
        self._children = children
        self._parcels = parcels
        self._same = 0
        self._sent = 0
        self._recorded = 0.0
        self._before = parcels[0].transfer.sent  # further than that: the way is good again

    def heard(self, event: Item | Progress) -> None:
        """One event of the run."""
        if isinstance(event, Progress):
            self._sent = event.bytes
        elif event.is_file and event.is_same:
            self._same += event.size
        if time.monotonic() - self._recorded >= INTERVAL_S:
            self.ended()

    def ended(self) -> None:
        """Record how far it is. Nobody watches small files that are sent together."""
        self._recorded = time.monotonic()
        if len(self._parcels) == 1 and self._sent:
            there = self._same + self._sent
            transfer = self._parcels[0].transfer.id
            if not self._queue.transfers.note_sent(transfer, there, further=there > self._before):
                self._children.end([transfer])  # cancelled in the moment before rsync began
