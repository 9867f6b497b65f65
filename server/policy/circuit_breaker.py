"""When a circuit breaker opens, how long it pauses, and when it closes again. Pure.

The state is kept by :mod:`server.engine.breaker`.
"""

from dataclasses import dataclass, replace

from server.reasons import Reason

LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True)
class Breaker:
    """A breaker's state. ``pause_s``: 0 while closed; open: seconds between two trials. ``try_at``: Unix seconds of the next.

    ``trying``: the job that is the trial; 0: none. ``text``: the last failure; ``full``: whether the cloud had no room;
    ``reason``: the failure's reason, "" where it is unknown.
    """

    failures: int = 0
    pause_s: float = 0.0
    try_at: float = 0.0
    trying: int = 0
    text: str = ""
    full: bool = False
    reason: str = ""

    @property
    def why(self) -> Reason | None:
        """The reason of the last failure, which knows who can fix it and how."""
        return Reason(self.reason) if self.reason in set(Reason) else None

    @property
    def is_open(self) -> bool:
        """Whether no machines are made, except for a trial."""
        return self.pause_s > 0

    def may_begin(self, now: float) -> bool:
        """Whether a machine may be made now."""
        return not self.is_open or (not self.trying and now >= self.try_at)

    def begun(self, job_id: int) -> "Breaker":
        """A machine is being made."""
        return replace(self, trying=job_id) if self.is_open else self

    def failed(self, job_id: int, text: str, reason: Reason | None, limit: int, first_pause_s: float, now: float) -> "Breaker":
        """A machine could not be made, or its app not be started."""
        full = reason is not None and reason.passes_with_room
        counted = replace(self, failures=self.failures + 1, text=text, full=full, reason=str(reason or ""))
        if not self.is_open:
            opens = counted.failures >= limit or (reason is not None and reason.waits)
            return replace(counted, pause_s=first_pause_s, try_at=now + first_pause_s) if opens else counted
        if job_id != self.trying or now < self.try_at:  # begun before it opened
            return counted
        pause_s = first_pause_s if full else min(2 * self.pause_s, LONGEST_PAUSE_S)
        return replace(counted, pause_s=pause_s, try_at=now + pause_s, trying=0)

    def has_room(self, now: float) -> "Breaker":
        """A machine was removed: where there was no room, there may be now."""
        return replace(self, try_at=now) if self.is_open and self.full else self
