"""For how long the started jobs have given no heartbeat.

Counted from when this controller saw a heartbeat change, by a clock that does not jump: neither a clock that is set nor a
storage whose clock differs makes a job look dead. Kept in memory: a new controller starts to count again.
"""

import threading
from collections.abc import Callable, Collection


class Heartbeats:
    """The heartbeats of one controller's jobs; each is known by a key of its job and attempt."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._seen: dict[tuple[int, int], tuple[float | None, float]] = {}
        self._lock = threading.Lock()

    def quiet_s(self, key: tuple[int, int], beat: float | None) -> float:
        """Seconds since the heartbeat, now ``beat`` by the storage's clock, last changed."""
        now = self._steady()
        with self._lock:
            if key not in self._seen or self._seen[key][0] != beat:
                self._seen[key] = (beat, now)
            return now - self._seen[key][1]

    def keep_only(self, keys: Collection[tuple[int, int]]) -> None:
        """Forget all others."""
        with self._lock:
            self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
