"""For how long nothing has been heard of the started jobs.

Counted from when this controller saw a heartbeat change, by a clock that does not jump: neither a clock that is set nor a
storage whose clock differs makes a job look dead. It is in memory, so a new controller begins to listen anew.
"""

import threading
from collections.abc import Callable, Collection


class Heartbeats:
    """The heartbeats of one controller's jobs; each is known by a key of its job and attempt."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._heard: dict[tuple[int, int], tuple[float | None, float]] = {}
        self._lock = threading.Lock()

    def quiet_s(self, key: tuple[int, int], beat: float | None) -> float:
        """Seconds since the heartbeat, now ``beat`` by the storage's clock, was another."""
        now = self._steady()
        with self._lock:
            if key not in self._heard or self._heard[key][0] != beat:
                self._heard[key] = (beat, now)
            return now - self._heard[key][1]

    def keep_only(self, keys: Collection[tuple[int, int]]) -> None:
        """Forget all others."""
        with self._lock:
            self._heard = {key: heard for key, heard in self._heard.items() if key in keys}
