"""The controller's requests on the wire to the cloud: how many a second, and how often one is repeated that gets no good answer.

Below openstacksdk and keystoneauth, whose own repetitions leave out tokens and discovery, have no jitter and no limit to
``Retry-After``, know no rate over all services and threads, and would send an order for something new twice. What Terraform's
provider does about the same is its own ``max_retries``.
"""

import email.utils
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from keystoneauth1.session import TCPKeepAliveAdapter

from server.settings import Settings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_RETRY_AFTER_S = 300.0
REPEAT_FOR_S = 60.0  # then a request is repeated no more, unless the cloud asked to wait longer
BURST_S = 1.0
REFUSED = frozenset({429, 503})  # nothing was begun
BROKEN = frozenset({408, 500, 502, 504})  # it may have been
NOT_SENT = requests.ConnectTimeout
# What a POST asks for a second time without harm; any other may order something new.
REPEATABLE_POST = re.compile(r"/(auth/tokens|metadata|action)/?$")
_LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class Pace:
    """At most ``per_s`` requests a second over all threads, as many as that at once after a pause; 0: no limit."""

    def __init__(
        self,
        per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when it is this request's turn."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - BURST_S)
            self._next = turn + self._interval_s
        if turn > now:
            self._pause(turn - now)

    def hold(self, seconds: float) -> None:
        """No request of any thread for so long: the cloud asked for it."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


@dataclass
class Patience:
    """How a request is repeated. ``clock``: seconds that never jump; ``now``: Unix seconds; ``spread``: between 0 and 1."""

    retries: int
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    spread: Callable[[], float] = random.random

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        """That of one installation, for all its threads."""
        return cls(settings.openstack_retries, Pace(settings.openstack_requests_per_s))

    def pause_s(self, tried: int) -> float:
        """Seconds before the next try after so many: doubled each time, and spread, or all would come back at once."""
        full = min(FIRST_PAUSE_S * 2.0 ** (tried - 1), LONGEST_PAUSE_S)
        return full * (0.5 + self.spread() / 2)

    def retry_after_s(self, answer: requests.Response) -> float:
        """Seconds that the answer asks to wait; 0 where it does not say."""
        value = answer.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdigit():
            return min(float(value[:9]), LONGEST_RETRY_AFTER_S)
        try:
            moment = email.utils.parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError):
            return 0.0
        return min(max(0.0, moment - self.now()), LONGEST_RETRY_AFTER_S)


class PatientAdapter(TCPKeepAliveAdapter):
    """Sends requests within the rate, and again where that can do no harm."""

    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._patience = patience

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """The last answer. Raises what requests raises for the last try."""
        patience, began, tried = self._patience, self._patience.clock(), 0
        while True:
            patience.pace.wait()
            tried += 1
            is_last = tried > patience.retries or patience.clock() - began > REPEAT_FOR_S
            retry_after_s = 0.0
            try:
                answer = super().send(request, *arguments, **options)
                if not options.get("stream"):
                    answer.content  # noqa: B018  # read here: it may break off as well
            except _LOST as problem:
                if is_last or not may_repeat(request, problem):
                    raise
            else:
                if is_last or not may_repeat(request, answer):
                    return answer
                retry_after_s = patience.retry_after_s(answer)
                answer.close()
            if retry_after_s:
                patience.pace.hold(retry_after_s)
            else:
                patience.pause(patience.pause_s(tried))


def may_repeat(request: requests.PreparedRequest, outcome: requests.Response | Exception) -> bool:
    """Whether it was no good answer, and asking again orders nothing twice."""
    may_repeat = request.method != "POST" or bool(REPEATABLE_POST.search((request.path_url or "").partition("?")[0]))
    if isinstance(outcome, requests.Response):
        return outcome.status_code in REFUSED or (may_repeat and outcome.status_code in BROKEN)
    if isinstance(outcome, requests.exceptions.SSLError):
        return False
    return may_repeat or isinstance(outcome, NOT_SENT) or "NewConnectionError" in str(outcome)


def patient_session(patience: Patience) -> requests.Session:
    """What keystoneauth sends all its requests by."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, PatientAdapter(patience))
    return session
