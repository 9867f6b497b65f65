"""The queue: what to send, in which order, and what became of it. Owns every change of a row's state; moves no byte.

All of it lies in the database, so a killed agent continues where it was. The parts have no state of their own.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from agent.queue.jobs import Jobs
from agent.queue.listing import Listing
from agent.queue.models import Job, Transfer, database_of
from agent.queue.transfers import Transfers
from agent.queue.turns import next_batch
from agent.queue.upkeep import Upkeep


@dataclass(frozen=True)
class Queue:
    """The rows of this agent, by what is done with them."""

    jobs: Jobs = field(default_factory=Jobs)
    transfers: Transfers = field(default_factory=Transfers)
    listing: Listing = field(default_factory=Listing)
    upkeep: Upkeep = field(default_factory=Upkeep)

    def next_batch(self, now: float) -> list[Transfer]:
        """The next batch to send, moved to SENDING; empty if there is none."""
        return next_batch(now)

    def together(self) -> AbstractContextManager[object]:
        """Several changes as one transaction."""
        return database_of(Job).atomic("IMMEDIATE")
