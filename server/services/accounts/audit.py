"""The audit: every change of accounts, which is written with the change, and every refusal; bounded by age and by number.

A refusal that repeats (the same action, code and address) within a minute is one row with a count, written every few seconds. Of
more kinds within a minute than a few hundred, those from further addresses are one row for each action and code. So whoever is
refused a million times fills neither the disk nor the database's time, and pushes no change out: changes and refusals have a
limit each.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from peewee import OperationalError

from server.db.account_models import ApiToken, AuditEntry, LoginLink
from server.db.cached_sql import add
from server.db.transactions import exclusive, exclusive_at_once
from server.errors import InvalidInput
from server.services.accounts.changes import Outcome, entry_of, require_reading, user_subject
from server.services.accounts.rules import DAY_S, AccountRules
from server.services.accounts.views import AuditView, audit_view
from server.services.principal import Origin, Principal

WINDOW_S, WRITTEN_EVERY_S = 60.0, 5.0
KINDS = 256  # of one minute
PRUNED_EVERY_S = 600.0
MAX_LISTED = 1000
ELSEWHERE, SEVERAL = "(further addresses)", "(several)"


@dataclass(frozen=True)
class AuditFilters:
    """Which lines are wanted; "" or None: all. ``since``, ``until``: Unix seconds."""

    who: str = ""
    action: str = ""
    subject: str = ""
    outcome: str = ""
    address: str = ""
    since: float | None = None
    until: float | None = None


@dataclass
class _Repeated:
    """A refusal of this minute. ``number``: of its row; ``unwritten``: how often it has happened since it was written last."""

    entry: AuditEntry
    since: float
    number: int | None = None
    unwritten: int = 1
    written_at: float = float("-inf")


class AuditRetention:
    """Removes what is too old or too many. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float], rules: AccountRules) -> None:
        self._clock = clock
        self._rules = rules
        self._pruned_at = float("-inf")

    def prune_if_due(self) -> None:
        """Every ten minutes, when something is written."""
        if not 0 <= self._clock() - self._pruned_at < PRUNED_EVERY_S:
            self.prune()

    def prune(self) -> int:
        """Remove lines, and tokens and links that have been of no use for as long; returns how many lines.

        Waits for nobody: where somebody writes at this moment it is tried again with the next line.
        """
        now = self._clock()
        oldest = now - self._rules.audit_days * DAY_S
        try:
            with exclusive_at_once():
                removed = AuditEntry.delete().where(AuditEntry.at < oldest, AuditEntry.last_at < oldest).execute()
                removed += sum(self._remove_surplus(outcome) for outcome in Outcome)
                ApiToken.delete().where((ApiToken.revoked_at < oldest) | (ApiToken.expires < oldest)).execute()
                LoginLink.delete().where(LoginLink.expires < now).execute()
        except OperationalError:
            return 0
        self._pruned_at = now
        return int(removed)

    def _remove_surplus(self, outcome: Outcome) -> int:
        same = AuditEntry.outcome == outcome.value
        last = AuditEntry.select(AuditEntry.id).where(same).order_by(AuditEntry.id.desc())
        surplus = last.offset(self._rules.audit_entries).limit(1).scalar()
        return int(AuditEntry.delete().where(same, AuditEntry.id <= surplus).execute()) if surplus else 0


class AuditService:
    """The audit of the database that is open. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float], rules: AccountRules | None = None) -> None:
        self._clock = clock
        self._retention = AuditRetention(clock, rules or AccountRules())
        self._lock = threading.Lock()
        self._minute: dict[tuple[str, str, str], _Repeated] = {}

    def record(
        self,
        principal: Principal | None,
        action: str,
        *,
        subject: str = "",
        outcome: Outcome = Outcome.REFUSED,
        code: str = "",
        detail: str = "",
        origin: Origin | None = None,
    ) -> None:
        """Record a refusal, or something that was done and has no line yet. ``principal``: None where nobody knows who asks.

        Waits for nobody who writes at this moment: a refusal is written later then. ``origin``: by default the principal's.
        """
        now = self._clock()
        entry = entry_of(principal, action, subject, now, outcome=outcome, code=code, detail=detail, origin=origin)
        if outcome is Outcome.OK:
            with exclusive():
                add(entry)
        else:
            with self._lock:
                self._count(entry, now)
                self._write(now)
        self._retention.prune_if_due()

    def find(
        self, principal: Principal, filters: AuditFilters | None = None, before_id: int | None = None, limit: int = 100
    ) -> list[AuditView]:
        """The newest lines, from before the row ``before_id``: an administrator's all, anybody else's own and those about them.

        Raises Forbidden, InvalidInput.
        """
        require_reading(principal)
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidInput(f"1 to {MAX_LISTED} lines can be listed at once", field="limit")
        self.flush()
        filters = filters or AuditFilters()
        rows = AuditEntry.select().order_by(AuditEntry.id.desc()).limit(limit)
        if not principal.is_administrator:
            own = (AuditEntry.who == principal.name) | (AuditEntry.subject == user_subject(principal.name))
            rows = rows.where(own)
        for column in ("who", "action", "subject", "outcome", "address"):
            if wanted := getattr(filters, column):
                rows = rows.where(getattr(AuditEntry, column) == wanted)
        if filters.since is not None:
            rows = rows.where(AuditEntry.last_at >= filters.since)
        if filters.until is not None:
            rows = rows.where(AuditEntry.at < filters.until)
        if before_id is not None:
            rows = rows.where(AuditEntry.id < before_id)
        return [audit_view(entry) for entry in rows]

    def flush(self) -> None:
        """Write what was counted, unless somebody else writes at this moment."""
        with self._lock:
            self._write(self._clock(), everything=True)

    def _count(self, entry: AuditEntry, now: float) -> None:
        key = (entry.address, entry.action, entry.code)
        if key not in self._minute and len(self._minute) >= KINDS:
            entry.address, entry.who, entry.subject, entry.request_id = ELSEWHERE, "", "", ""
            if len(self._minute) >= 2 * KINDS:
                entry.action, entry.code = SEVERAL, SEVERAL
            key = (ELSEWHERE, entry.action, entry.code)
        known = self._minute.get(key)
        if known is not None and not 0 <= now - known.since < WINDOW_S:
            self._write(now, everything=True)
            known = self._minute.get(key)  # still there where somebody else writes: then it counts on, and nothing is lost
        if known is not None:
            known.unwritten += 1
            known.entry.last_at = now
            if (entry.who, entry.subject) != (known.entry.who, known.entry.subject):
                known.entry.detail = "among them other names"
            return
        self._minute[key] = _Repeated(entry, now)

    def _write(self, now: float, *, everything: bool = False) -> None:
        due = [
            one
            for one in self._minute.values()
            if one.unwritten and (everything or not 0 <= now - one.written_at < WRITTEN_EVERY_S)
        ]
        if due:
            try:
                with exclusive_at_once():
                    numbers = [_store(one) for one in due]
            except OperationalError:
                return  # they stay counted
            for one, number in zip(due, numbers, strict=True):
                one.number, one.unwritten, one.written_at = number, 0, now
        for key, one in list(self._minute.items()):
            if not one.unwritten and not 0 <= now - one.since < WINDOW_S:
                del self._minute[key]


def _store(one: _Repeated) -> int:
    """The number of its row, which is new or counts on."""
    entry = one.entry
    if one.number is None:
        new = AuditEntry(**{**entry.__data__, "count": one.unwritten})
        add(new)
        return int(new.id)
    values = {"count": AuditEntry.count + one.unwritten, "last_at": entry.last_at, "detail": entry.detail}
    AuditEntry.update(values).where(AuditEntry.id == one.number).execute()
    return one.number
