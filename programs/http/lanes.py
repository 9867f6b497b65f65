"""The threads that answer requests, in lanes: whatever keeps one lane busy leaves the others free.

Who waits in a lane is served by turns of the computers that ask, so that one that asks a thousand times
delays the others by one.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from waitress.task import ThreadedTaskDispatcher

NOT_WAITED_FOR_S = 0.2  # by the later lanes at the end: the first has had its time by then


class FairQueue:
    """Connections that wait for a thread: each home's own in their order, the homes in turn."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Any]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def append(self, channel: Any) -> None:
        """One more waits."""
        self._waiting.setdefault(channel.home, deque()).append(channel)

    def popleft(self) -> Any:
        """Whose turn it is. Raises KeyError where none waits."""
        home, own = self._waiting.popitem(last=False)
        channel = own.popleft()
        if own:
            self._waiting[home] = own  # behind the others
        return channel


class Lane(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no types
    """Some threads with a queue of their own. The length of the queue is not logged: the door's limits bound it."""

    def __init__(self, threads: int, logger: logging.Logger) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.logger = logger
        self.queue_logger = logging.Logger("queue", logging.CRITICAL + 1)
        self.set_thread_count(threads)

    def has_to_wait(self) -> bool:
        """Whether somebody waits for a thread here."""
        return bool(self.queue)


class Lanes:
    """Takes each request to its lane. ``lane_of`` gets a whole request and says which, from 0 on."""

    def __init__(self, threads: Sequence[int], lane_of: Callable[[Any], int], logger: logging.Logger) -> None:
        self._lane_of = lane_of
        self._lanes = [Lane(count, logger) for count in threads]

    def add_task(self, channel: Any) -> None:
        """Have the channel's next request answered."""
        self._lanes[self._lane_of(channel.requests[0])].add_task(channel)

    def is_short(self) -> bool:
        """Whether somebody waits for a thread."""
        return any(lane.has_to_wait() for lane in self._lanes)

    def is_short_for(self, request: Any) -> bool:
        """Whether somebody waits for a thread of the kind that answers such a request."""
        return self._lanes[self._lane_of(request)].has_to_wait()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the threads; True if nothing was left to do."""
        for lane in self._lanes:
            lane.set_thread_count(0)
        limits = [timeout, *(min(timeout, NOT_WAITED_FOR_S) for _ in self._lanes[1:])]
        results = [lane.shutdown(cancel_pending, limit) for lane, limit in zip(self._lanes, limits, strict=True)]
        return all(results)
