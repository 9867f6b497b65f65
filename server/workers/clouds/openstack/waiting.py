"""Waiting for the cloud: it is asked again and again, since nothing there tells when it is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from server.errors import CloudError
from server.reasons import Reason
from server.settings import Settings

Found = TypeVar("Found")
POLL_S = 1.0


@dataclass(frozen=True)
class Limit:
    """How long something may take. ``setting``: what an administrator changes it by; "" where it is fixed."""

    seconds: float
    setting: str = ""

    @classmethod
    def of(cls, settings: Settings, name: str) -> "Limit":
        """That of the setting ``openstack_<name>_s``."""
        setting = f"openstack_{name}_s"
        return cls(float(getattr(settings, setting)), setting)

    @property
    def advice(self) -> str:
        """Which setting it is, as the end of a sentence."""
        return f": the setting {self.setting} is the limit" if self.setting else ""


QUICK, COPYING = Limit(600.0), Limit(3600.0)


@dataclass(frozen=True)
class Waiting:
    """``clock``: seconds that never jump; ``pause``: sleeps for as many; ``patience_s``: for how long no answer is borne."""

    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    patience_s: float = 300.0

    def until(self, ask: Callable[[], Found | None], limit: Limit, late: str) -> Found:
        """What ``ask`` returns once that is not None. Raises CloudError, with ``late`` and the setting in it where it is.

        A cloud that is busy, or does not answer, meanwhile says nothing about what is waited for.
        """
        begin = answered = self.clock()
        while True:
            try:
                found, failure = ask(), None
            except CloudError as problem:
                found, failure = None, problem
            now = self.clock()
            if found is not None:
                return found
            answered = answered if failure else now
            if failure and (now - answered > self.patience_s or not (failure.reason and failure.reason.is_transient)):
                raise failure
            if now - begin > limit.seconds:
                raise CloudError(f"{late} after {limit.seconds:.0f} s{limit.advice}", Reason.CLOUD_BUSY) from failure
            self.pause(POLL_S)
