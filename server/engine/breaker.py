"""The circuit breaker: after several failures in a row to make a machine, no more are made until a trial succeeds.

A cloud that is down would otherwise use up the attempts of every waiting job. One failure that is known to affect the whole site
is enough, and costs no job an attempt. Owns the breaker's state, which is in the database, so that a restart changes nothing; its
rules are :mod:`server.policy.circuit_breaker`'s.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import structlog

from server.db.models import Job
from server.db.queries import release_uncounted
from server.db.settings_store import read_setting, write_setting
from server.db.transactions import exclusive
from server.db.transitions import Change
from server.policy.circuit_breaker import Breaker
from server.reasons import Reason
from server.settings import Settings
from server.states import LAUNCHING

NAME = "breaker"
log = structlog.get_logger()


class CircuitBreaker:
    """The breaker of one installation."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._limit = settings.breaker_failures
        self._pause_s = settings.breaker_pause_s
        self._clock = clock

    def begun(self, job_id: int) -> None:
        """A machine is being made for the job."""
        self._change(lambda breaker: _without_ended_trial(breaker).begun(job_id))

    def failed(self, job_id: int, text: str, reason: Reason | None = None) -> Breaker:
        """It could not be made, or its app not be started; returns the new state. Safe for any number of failures at once."""
        now = self._clock()
        before, after = self._change(lambda breaker: breaker.failed(job_id, text, reason, self._limit, self._pause_s, now))
        if after.is_open and after.pause_s != before.pause_s:
            log.error("no more machines are made for now", failures=after.failures, next_try_s=after.pause_s, detail=text)
        return after

    def succeeded(self) -> None:
        """A machine was made and its app started."""
        if read_breaker() == Breaker():  # as nearly always: no write transaction is needed
            return
        before, _ = self._change(lambda _: Breaker())
        if before.is_open:
            log.warning("machines are made again")

    def has_room(self) -> None:
        """A machine was removed, and has freed its share of the cloud's room."""
        if not _is_full(read_breaker()):
            return
        now = self._clock()
        with exclusive():
            before, _ = self._change(lambda breaker: breaker.has_room(now))
            if _is_full(before):
                release_uncounted(now)

    def _change(self, change: Callable[[Breaker], Breaker]) -> tuple[Breaker, Breaker]:
        """The states before and after, changed in one transaction."""
        with exclusive():
            before = read_breaker()
            after = change(before)
            if after != before:
                _write(after, self._clock())
        return before, after


def known_breaker() -> Breaker:
    """The breaker's state; a trial whose job is no longer being launched does not count."""
    return _without_ended_trial(read_breaker())


def shift_breaker(seconds: float, now: float) -> None:
    """The computer's clock was set by that much, to ``now``: the next trial is as far away as it was. Within a transaction."""
    breaker = read_breaker()
    if breaker.is_open:
        _write(replace(breaker, try_at=breaker.try_at + seconds), now)


def read_breaker() -> Breaker:
    """The state in the breaker's row; closed where there is none, or one of another version."""
    try:
        return Breaker(**json.loads(read_setting(NAME)))
    except (ValueError, TypeError):
        return Breaker()


def _write(breaker: Breaker, at: float) -> None:
    write_setting(NAME, json.dumps(asdict(breaker)) if breaker != Breaker() else "", Change(at))


def _is_full(breaker: Breaker) -> bool:
    return breaker.is_open and breaker.full


def _without_ended_trial(breaker: Breaker) -> Breaker:
    """A trial that came to no end (its job was cancelled) does not count."""
    if breaker.trying and not Job.select().where(Job.id == breaker.trying, Job.state.in_(LAUNCHING)).exists():
        return replace(breaker, trying=0)
    return breaker
