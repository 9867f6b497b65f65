"""The threads that answer requests, in pools: whatever keeps one pool busy leaves the others free.

The requests that wait for a pool are served by turns of the computers that sent them, so that one that sends a thousand
delays the others by one.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from waitress.task import ThreadedTaskDispatcher

NOT_WAITED_FOR_S = 0.2  # by the later pools at the end: the first has had its time by then


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


class ThreadPool(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no types
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


class ThreadPools:
    """Passes each request to its pool. ``pool_of`` gets a whole request and says which, from 0 on."""

    def __init__(self, threads: Sequence[int], pool_of: Callable[[Any], int], logger: logging.Logger) -> None:
        self._pool_of = pool_of
        self._pools = [ThreadPool(count, logger) for count in threads]

    def add_task(self, channel: Any) -> None:
        """Have the channel's next request answered."""
        self._pools[self._pool_of(channel.requests[0])].add_task(channel)

    def is_short(self) -> bool:
        """Whether somebody waits for a thread."""
        return any(pool.has_to_wait() for pool in self._pools)

    def is_short_for(self, request: Any) -> bool:
        """Whether somebody waits for a thread of the kind that answers such a request."""
        return bool(self._pools[self._pool_of(request)].has_to_wait())

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the threads; True if nothing was left to do."""
        for pool in self._pools:
            pool.set_thread_count(0)
        limits = [timeout, *(min(timeout, NOT_WAITED_FOR_S) for _ in self._pools[1:])]
        results = [pool.shutdown(cancel_pending, limit) for pool, limit in zip(self._pools, limits, strict=True)]
        return all(results)
