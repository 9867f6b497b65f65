"""The one way to change accounts: the change, its line in the audit and the roster in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from server.db.account_models import AuditEntry
from server.db.cached_sql import add
from server.db.transactions import exclusive
from server.engine.records.account_roster import announce, confirm, database_path, require_current
from server.services.accounts.secret_texts import without_tokens
from server.services.principal import Established, Forbidden, Origin, Principal, Role, Scope

MAX_FIELD, MAX_DETAIL = 200, 500


class Outcome(StrEnum):
    """Whether something was done."""

    OK = "ok"
    REFUSED = "refused"


class Action(StrEnum):
    """What the audit calls the changes of accounts. A refusal has the name of what was refused, which may be any other."""

    LOG_IN = "log_in"
    LOG_OUT = "log_out"
    FIRST_ADMIN_LINK = "first_admin_link"
    INVITE = "invite"
    USER_CREATE = "user_create"
    USER_CHANGE = "user_change"
    USER_PASSWORD = "user_password"  # noqa: S105  # a word
    USER_DISABLE = "user_disable"
    USER_ENABLE = "user_enable"
    USER_DELETE = "user_delete"
    GROUP_CREATE = "group_create"
    GROUP_CHANGE = "group_change"
    GROUP_DELETE = "group_delete"
    MEMBER_ADD = "member_add"
    MEMBER_REMOVE = "member_remove"
    TOKEN_CREATE = "token_create"  # noqa: S105
    TOKEN_REVOKE = "token_revoke"  # noqa: S105


@dataclass
class Note:
    """What the audit says of a change; the change may say more of it. ``is_done``: False where somebody else was first."""

    subject: str
    detail: str = ""
    is_done: bool = True


@contextmanager
def account_change(
    principal: Principal, action: Action, subject: str, now: float, *, rights: bool = True, detail: str = ""
) -> Iterator[Note]:
    """A transaction for one change; at its end the audit has it. ``subject``: such as ``user ada``.

    ``rights``: it changes who may do what, or ends a way in; a backup must not undo that. Raises InTheWay where the roster cannot
    be written: nothing is changed then.
    """
    path, note = database_path(), Note(subject, detail)
    if rights:
        require_current(path, now)
    with exclusive():
        yield note
        if not note.is_done:
            return
        add(entry_of(principal, action, note.subject, now, detail=note.detail))
        if rights:
            announce(path, now)
    if rights:
        confirm(path)


def entry_of(
    principal: Principal | None,
    action: str,
    subject: str,
    now: float,
    *,
    outcome: Outcome = Outcome.OK,
    code: str = "",
    detail: str = "",
    origin: Origin | None = None,
) -> AuditEntry:
    """A line of the audit, not stored yet. ``principal``: None where nobody knows who it was."""
    where = origin or (principal.origin if principal else Origin())
    return AuditEntry(
        at=now,
        last_at=now,
        who=_line(principal.name) if principal else "",  # the name that somebody claims may be a secret in the wrong field
        established=principal.established.value if principal else "",
        address=_line(where.address),
        action=_line(action),
        subject=_line(subject),
        outcome=outcome.value,
        code=_line(code),
        detail=_line(detail, MAX_DETAIL),
        request_id=_line(where.request_id),
    )


def user_subject(name: str) -> str:
    """A user as the audit's subject."""
    return f"user {name}"


def group_subject(name: str) -> str:
    """A group as the audit's subject."""
    return f"group {name}"


def token_subject(number: int) -> str:
    """A token as the audit's subject."""
    return f"token {number}"


def require_change(principal: Principal) -> None:
    """Raises Forbidden unless it is known who asks, and a token was made for such changes."""
    require_known(principal)
    principal.require_scope(Scope.ADMIN)


def require_reading(principal: Principal) -> None:
    """Raises Forbidden unless it is known who asks, and a token was made for reading."""
    require_known(principal)
    principal.require_scope(Scope.READ)


def require_known(principal: Principal) -> None:
    """Raises Forbidden for a name that nobody has checked, and for agents."""
    if principal.established is Established.DESKTOP_CLAIM:
        raise Forbidden("log in for this: the desktop client only says a name, which anybody could say")
    principal.require(Role.USER)


def _line(text: str, longest: int = MAX_FIELD) -> str:
    """One line without control characters and tokens, whoever has written it."""
    clean = "".join(char if char.isprintable() else " " for char in text[: 4 * longest])
    return without_tokens(clean)[:longest]
