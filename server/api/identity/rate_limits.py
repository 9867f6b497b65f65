"""How often something may be tried: log-ins, wrong tokens, submissions. Kept in memory, for a bounded number of those who try."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from server.api.identity.errors import TooMany
from server.identity_settings import IdentitySettings

MAX_KEYS = 20_000
Clock = Callable[[], float]


class BoundedMemory(Storage, MovingWindowSupport):
    """Times of what was tried, by key, in this process. Where there are too many keys, the one tried longest ago is forgotten."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock = time.monotonic, max_keys: int = MAX_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._max_keys = max_keys
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it may raise."""
        return ValueError

    def __len__(self) -> int:
        return len(self._times)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note a try if it is within the limit."""
        with self._lock:
            times = self._recent(key, expiry)
            if len(times) + amount > limit:
                return False
            times.extend([self._clock()] * amount)
            self._times[key] = times
            self._times.move_to_end(key)
            while len(self._times) > self._max_keys:
                self._times.popitem(last=False)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002  # the library's
        """When the oldest try within the window was, and how many there were."""
        with self._lock:
            times = self._recent(key, expiry)
            return (times[0] if times else self._clock()), len(times)

    def _recent(self, key: str, expiry: int) -> deque[float]:
        times, now = self._times.get(key, deque()), self._clock()
        while times and times[0] <= now - expiry:
            times.popleft()
        return times

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not of a moving window."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """How many tries of a key are kept."""
        return len(self._times.get(key, ()))

    def get_expiry(self, key: str) -> float:
        """Not of a moving window."""
        raise NotImplementedError

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int:
        """Forget all."""
        with self._lock:
            known = len(self._times)
            self._times.clear()
            return known

    def clear(self, key: str) -> None:
        """Forget the tries of one key."""
        with self._lock:
            self._times.pop(key, None)


class RateLimits:
    """The limits of one controller. A limit of 0 is none."""

    def __init__(self, settings: IdentitySettings, clock: Clock = time.monotonic, max_keys: int = MAX_KEYS) -> None:
        self._settings = settings
        self._clock = clock
        self._memory = BoundedMemory(clock, max_keys)
        self._window = MovingWindowRateLimiter(self._memory)

    def submission(self, name: str) -> None:
        """Note a submission by a user. Raises TooMany."""
        self._take(self._settings.submissions_per_minute, "too many submissions", "submission", name)

    def bad_token(self, address: str) -> None:
        """Note a wrong token from an address. Raises TooMany."""
        self._take(self._settings.bad_tokens_per_minute, "too many wrong tokens from this address", "token", address)

    def login(self, address: str, name: str) -> None:
        """Note that somebody tries to log in. Raises TooMany.

        A name that others have tried too often from elsewhere can still be tried once a minute from each address, so that nobody
        can lock its owner out.
        """
        self._take(self._settings.login_attempts_per_minute, "too many log-ins from this address", "login", address)
        failures = self._settings.login_failures_per_minute
        if failures and not self._window.test(RateLimitItemPerMinute(failures), "failed", _folded(name)):
            self._take(1, "too many failed log-ins by this name", "retried", _folded(name), address)

    def failed_login(self, name: str) -> None:
        """Note that a log-in was refused."""
        if failures := self._settings.login_failures_per_minute:
            self._window.hit(RateLimitItemPerMinute(failures), "failed", _folded(name))

    def is_first_within_an_hour(self, *key: str) -> bool:
        """Whether something has not happened for an hour; counts it if so."""
        return self._window.hit(RateLimitItemPerHour(1), *key)

    def _take(self, per_minute: int, what: str, *key: str) -> None:
        if not per_minute:
            return
        item: RateLimitItem = RateLimitItemPerMinute(per_minute)
        if not self._window.hit(item, *key):
            raise TooMany(what, self._window.get_window_stats(item, *key).reset_time - self._clock())


def _folded(name: str) -> str:
    return name.strip().casefold()[:200]
