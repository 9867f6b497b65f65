"""The circuit breaker: after several failures in a row to make a machine, no more are made until one that is tried succeeds.

A cloud that is down would otherwise use up the attempts of every job that waits. Where it is known for a trouble of the site, one
failure is enough, and no job loses an attempt by it. Owns the rules and where they stand, which is in the database, so that a
restart changes nothing.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import structlog

from server.db.models import Job
from server.db.queries import release_uncounted
from server.db.settings_store import read_setting, write_setting
from server.db.transactions import exclusive
from server.db.transitions import Change
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState

LONGEST_PAUSE_S = 3600.0
NAME = "breaker"
LAUNCHING = frozenset({JobState.PROVISIONING, JobState.STARTING})
log = structlog.get_logger()


@dataclass(frozen=True)
class Breaker:
    """Where it stands. ``pause_s``: 0 while closed; open: seconds between two tries. ``try_at``: Unix seconds of the next.

    ``trying``: the job that is the try; 0: none. ``text``: the last failure, ``full``: whether it was one of room.

    ``reason``: why that was, "" where nobody knows.
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
        """The reason of the last failure, which knows whose matter it is and what to do."""
        return Reason(self.reason) if self.reason in set(Reason) else None

    @property
    def is_open(self) -> bool:
        """Whether no machines are made, but for a try."""
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
        """A machine has gone: where there was no room, there may be now."""
        return replace(self, try_at=now) if self.is_open and self.full else self


class Circuit:
    """The breaker of one installation."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._limit = settings.breaker_failures
        self._pause_s = settings.breaker_pause_s
        self._clock = clock

    def look(self) -> Breaker:
        """Where it stands; a try that came to no end (its job was cancelled) is none."""
        return known_breaker()

    def begun(self, job_id: int) -> None:
        """A machine is being made for the job."""
        self._change(lambda breaker: _without_ended_try(breaker).begun(job_id))

    def failed(self, job_id: int, text: str, reason: Reason | None = None) -> Breaker:
        """It could not be made, or its app not be started; returns where the breaker stands now. However many fail at once."""
        now = self._clock()
        before, after = self._change(lambda breaker: breaker.failed(job_id, text, reason, self._limit, self._pause_s, now))
        if after.is_open and after.pause_s != before.pause_s:
            log.error("no more machines are made for now", failures=after.failures, next_try_s=after.pause_s, detail=text)
        return after

    def succeeded(self) -> None:
        """A machine was made and its app started."""
        if read_breaker() == Breaker():  # as nearly always: nobody need wait for his turn to write
            return
        before, _ = self._change(lambda _: Breaker())
        if before.is_open:
            log.warning("machines are made again")

    def has_room(self) -> None:
        """A machine has gone, and with it what it took of the cloud's room."""
        if not _is_full(read_breaker()):
            return
        now = self._clock()
        with exclusive():
            before, _ = self._change(lambda breaker: breaker.has_room(now))
            if _is_full(before):
                release_uncounted(now)

    def _change(self, change: Callable[[Breaker], Breaker]) -> tuple[Breaker, Breaker]:
        """What it was and what it is now; nobody else reads or writes between the two."""
        with exclusive():
            before = read_breaker()
            after = change(before)
            if after != before:
                _write(after, self._clock())
        return before, after


def known_breaker() -> Breaker:
    """Where the breaker stands; a try whose job is no longer at it is none."""
    return _without_ended_try(read_breaker())


def shift_breaker(seconds: float, now: float) -> None:
    """The computer's clock was set by so much, to ``now``: the next try is as far away as it was. Within a transaction."""
    breaker = read_breaker()
    if breaker.is_open:
        _write(replace(breaker, try_at=breaker.try_at + seconds), now)


def read_breaker() -> Breaker:
    """Where the breaker stands by its row; closed where there is none, or one of another version."""
    try:
        return Breaker(**json.loads(read_setting(NAME)))
    except (ValueError, TypeError):
        return Breaker()


def _write(breaker: Breaker, at: float) -> None:
    write_setting(NAME, json.dumps(asdict(breaker)) if breaker != Breaker() else "", Change(at))


def _is_full(breaker: Breaker) -> bool:
    return breaker.is_open and breaker.full


def _without_ended_try(breaker: Breaker) -> Breaker:
    """A try that came to no end (its job was cancelled) is none."""
    if breaker.trying and not Job.select().where(Job.id == breaker.trying, Job.state.in_(LAUNCHING)).exists():
        return replace(breaker, trying=0)
    return breaker
