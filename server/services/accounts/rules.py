"""The limits of accounts, and what names and texts may be."""

import math
import re
import unicodedata
from dataclasses import dataclass

from server.errors import InvalidInput
from server.services.principal import OWNER_NAME
from server.settings import Settings

DAY_S = 86_400.0
MAX_TEXT, MAX_EMAIL, MAX_TOKEN_NAME = 200, 254, 80
MAX_QUOTA_GB = 1e9
_EMAIL = re.compile(r"[^@\s\"(),:;<>[\\\]]{1,64}@[^@\s\"(),:;<>[\\\]]{1,189}")


@dataclass(frozen=True)
class AccountRules:
    """Limits. ``used_s``: how often a token's or session's last use is written; ``entries``: of the audit, of each outcome."""

    token_days: int = 90
    token_max_days: int = 365
    tokens_per_user: int = 100
    sessions_per_user: int = 20
    session_idle_s: float = 12 * 3600.0
    session_max_s: float = 14 * DAY_S
    first_admin_s: float = DAY_S
    invite_s: float = 3 * DAY_S
    used_s: float = 60.0
    audit_days: int = 400
    audit_entries: int = 100_000

    @classmethod
    def of(cls, settings: Settings) -> "AccountRules":
        """The limits as an installation has set them."""
        return cls(
            token_days=min(cls.token_days, settings.token_max_days),
            token_max_days=settings.token_max_days,
            session_idle_s=settings.session_idle_s,
            session_max_s=settings.session_max_s,
            audit_days=settings.audit_days,
            audit_entries=settings.audit_entries,
        )


def require_user_name(name: str, field: str = "name") -> str:
    """A name that jobs' owners may have, and no blank at its end, which nobody would see. Raises InvalidInput."""
    return _name(name, "user", field)


def require_group_name(name: str, field: str = "name") -> str:
    """The same of a group. Raises InvalidInput."""
    return _name(name, "group", field)


def name_key(name: str) -> str:
    """The same text for all names that differ only in case, in Unicode normalisation, or in how many blanks stand together."""
    folded = name
    for _ in range(2):  # what is normalised may have another case to fold, and the other way round
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).upper().casefold())
    return " ".join(folded.split())


def require_display_name(text: str) -> str:
    """A person's name as people write it. Raises InvalidInput."""
    return _line(text, MAX_TEXT, "display name", "display_name")


def require_email(text: str) -> str:
    """An address, or "" for none. Raises InvalidInput."""
    if text and (len(text) > MAX_EMAIL or not text.isprintable() or not _EMAIL.fullmatch(text)):
        raise InvalidInput(f"{text[:80]!r} is not an e-mail address", field="email")
    return text


def require_token_name(text: str) -> str:
    """What people call a token, so that they know which one to revoke. Raises InvalidInput."""
    if not text.strip():
        raise InvalidInput("give the token a name that says what uses it, such as `laptop`", field="name")
    return _line(text, MAX_TOKEN_NAME, "token's name", "name")


def require_quota(quota_gb: float | None) -> float | None:
    """GB, or None for no limit. Raises InvalidInput."""
    if quota_gb is not None and not (math.isfinite(quota_gb) and 0 <= quota_gb <= MAX_QUOTA_GB):
        raise InvalidInput("a quota is a number of GB from 0 on, or none", field="quota_gb")
    return quota_gb


def _name(name: str, what: str, field: str) -> str:
    if not OWNER_NAME.fullmatch(name) or name != name.strip():
        text = f"a {what}'s name has 1 to 64 letters, digits, blanks and @ + . _ -, begins with none of the last three or a blank"
        raise InvalidInput(f"{text}, and does not end with a blank", field=field)
    return name


def _line(text: str, longest: int, what: str, field: str) -> str:
    if len(text) > longest or not text.isprintable():
        raise InvalidInput(f"the {what} is longer than {longest} characters, or has control characters", field=field)
    return text
