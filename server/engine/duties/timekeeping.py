"""How much time has really passed, whatever the computer's clock is set to, and whether that clock can be believed.

Owns the mark by which a controller continues to count where the one before it stopped: a clock that never jumps counts while a
controller runs, and over its absence as long as the computer was not restarted. What is counted from a time by the computer's
clock (limits, pauses) is moved when that clock is set. Nothing is removed by its age while that clock is suspect.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import structlog
from peewee import fn

from server.db.models import Event
from server.db.settings_store import read_setting, write_setting
from server.db.transactions import exclusive
from server.db.transitions import Change, shift_times
from server.engine.breaker import shift_breaker
from server.engine.duties.sightings import forget_aged

DAY_S = 24 * 3600.0
MARK = "clock"
KEEP_S = 60.0  # between two writings of the mark: the last minute of a killed controller does not count
JUMP_S = 30.0  # how far the computer's clock may be off from the time that passed, before it counts as set
SUSPECT_S = 3600.0  # a clock that was set by more than that is suspect until it has run on for a day
OFF_S = DAY_S  # the longest absence over a restart of the computer that is believed to have lasted as long as the clock says
AHEAD_S = 300.0  # how far the last recorded time may lie in the future
log = structlog.get_logger()


@dataclass(frozen=True)
class Mark:
    """Where time stood. ``boot``: which start of the computer; ``steady``: seconds of that start's clock that never jumps.

    ``at``: Unix seconds by the computer's clock; ``elapsed``: seconds that controllers of this installation have run.
    ``set_by``: seconds by which the computer's clock was set last, 0: never; ``set_elapsed``: when, by ``elapsed``.
    """

    boot: str
    steady: float
    at: float
    elapsed: float
    set_by: float = 0.0
    set_elapsed: float = 0.0


class Timekeeper:
    """Time as one controller counts it. ``clock``: Unix seconds; ``steady``: seconds that never jump, since the ``boot``."""

    def __init__(self, clock: Callable[[], float], steady: Callable[[], float], boot: str) -> None:
        self.clock = clock
        self.steady = steady
        self._boot = boot
        self._last: Mark | None = None
        self._kept_at = 0.0

    def adjust_clock(self) -> float:
        """Compare the clocks; returns by how many seconds the computer's was set since the last call, 0 for not at all.

        If it was, all that is counted from its time has been moved as far. Raises OperationalError; call it again then.
        """
        return self._continue(self._last) if self._last else self._resume(read_mark())

    def elapsed(self) -> float:
        """Seconds that controllers of this installation have run so far."""
        return read_elapsed() if self._last is None else self._last.elapsed + self.steady() - self._last.steady

    def keep(self) -> None:
        """Write the mark, for whoever reads it now. Raises OperationalError."""
        if self._last:
            self._keep(self._mark(self._last, self.steady() - self._last.steady))

    def _continue(self, last: Mark) -> float:
        mark = self._mark(last, passed := self.steady() - last.steady)
        jump = mark.at - last.at - passed
        if abs(jump) <= JUMP_S:
            if mark.steady - self._kept_at >= KEEP_S:
                self._keep(mark)
            self._last = mark
            return 0.0
        self._move(mark, jump, is_suspect=abs(jump) > SUSPECT_S)
        return jump

    def _resume(self, former: Mark | None) -> float:
        """After an absence. Its length is unknown if the computer was restarted: limits continue from where they stood."""
        if former is None:
            self._keep(self._mark(None, 0.0))
            return 0.0
        mark = self._mark(former, 0.0)
        absent_s = mark.at - former.at
        if former.boot == self._boot and mark.steady >= former.steady:
            jump = absent_s - (mark.steady - former.steady)
            is_suspect = abs(jump) > SUSPECT_S
        else:
            jump, is_suspect = absent_s, not -SUSPECT_S <= absent_s <= OFF_S
        if abs(jump) <= JUMP_S:
            self._keep(mark)
            return 0.0
        self._move(mark, jump, is_suspect=is_suspect)
        return jump

    def _move(self, mark: Mark, jump: float, *, is_suspect: bool) -> None:
        """All in one transaction: a controller that is killed has moved everything, or nothing, and the former mark stays."""
        if is_suspect:
            mark = replace(mark, set_by=jump, set_elapsed=mark.elapsed)
        with exclusive():
            shift_times(jump)
            shift_breaker(jump, mark.at)
            if is_suspect:
                forget_aged()
            self._keep(mark)
        log.warning("the computer's clock was set, or it was off", seconds=round(jump), clock_is_suspect=is_suspect)

    def _mark(self, former: Mark | None, passed: float) -> Mark:
        elapsed, set_by, set_elapsed = (former.elapsed, former.set_by, former.set_elapsed) if former else (0.0, 0.0, 0.0)
        return Mark(self._boot, self.steady(), self.clock(), elapsed + passed, set_by, set_elapsed)

    def _keep(self, mark: Mark) -> None:
        write_setting(MARK, json.dumps(asdict(mark)), Change(mark.at))
        self._last, self._kept_at = mark, mark.steady


def read_mark() -> Mark | None:
    """The mark that a controller wrote last; None where none did."""
    try:
        return Mark(**json.loads(read_setting(MARK)))
    except (ValueError, TypeError):
        return None


def read_elapsed() -> float:
    """Seconds that controllers have run, to the last minute."""
    mark = read_mark()
    return mark.elapsed if mark else 0.0


def why_disagrees(now: float) -> str:
    """Why the computer's clock cannot be right; "" where nothing speaks against it. ``now``: what it says, Unix seconds."""
    newest = Event.get_or_none(Event.id == Event.select(fn.MAX(Event.id)))
    mark = read_mark()
    known = max((at for at in (newest and newest.at, mark and mark.at) if at), default=now)
    if known > now + AHEAD_S:
        return f"this computer's clock is {_duration(known - now)} behind what was recorded last: set it right"
    return ""


def why_doubted(now: float) -> str:
    """Why nothing is removed by its age now; "" where the clock is believed."""
    if disagrees := why_disagrees(now):
        return disagrees
    mark = read_mark()
    if mark and mark.set_by and mark.elapsed - mark.set_elapsed < DAY_S:
        way = "forwards, or it was off for so long" if mark.set_by > 0 else "back"
        return (
            f"this computer's clock was set {_duration(abs(mark.set_by))} {way}: ages are believed when it has gone on for a day"
        )
    return ""


def _duration(seconds: float) -> str:
    return f"{seconds / DAY_S:.1f} days" if seconds >= DAY_S else f"{seconds / 60:.0f} minutes"
