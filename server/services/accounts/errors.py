"""What can be wrong with a log-in, a token or an account, in words for whoever meets it."""

from server.errors import CumulusError, InvalidInput, NotFound


class Unauthenticated(CumulusError):
    """Nobody knows who asks."""

    code = "unauthenticated"
    http_status = 401


class TokenUnknown(Unauthenticated):
    """There is no such token."""

    code = "token_unknown"


class TokenExpired(Unauthenticated):
    """The token's time is over."""

    code = "token_expired"


class TokenRevoked(Unauthenticated):
    """The token was revoked."""

    code = "token_revoked"


class UserDisabled(Unauthenticated):
    """The account is disabled."""

    code = "user_disabled"


class SessionUnknown(Unauthenticated):
    """There is no such session: it was ended."""

    code = "session_unknown"


class SessionExpired(Unauthenticated):
    """The session's time is over."""

    code = "session_expired"


class LoginRefused(Unauthenticated):
    """Nobody is logged in; the text does not say whether there is such a user."""

    code = "login_refused"


class LinkInvalid(LoginRefused):
    """The link was used, has expired, or never was one."""

    code = "link_invalid"


class NoAccount(LoginRefused):
    """The directory knows this person, and there is no account."""

    code = "no_account"
    http_status = 403


class TooManyLogins(CumulusError):
    """Passwords are being checked already, as many as may be at once."""

    code = "too_many_logins"
    http_status = 503


class NameTaken(InvalidInput):
    """Another one has this name, or one that people would take for it."""

    code = "name_taken"
    http_status = 409


class WrongPassword(InvalidInput):
    """The old password is another one."""

    code = "wrong_password"
    http_status = 403


class LastAdministrator(CumulusError):
    """Without this user nobody could administer the installation."""

    code = "last_administrator"
    http_status = 409


class UserHasJobs(CumulusError):
    """Jobs are this user's, so the account stays."""

    code = "user_has_jobs"
    http_status = 409


def no_user(name: str) -> NotFound:
    """What people read of a user who is not there, or not theirs to see."""
    return NotFound(f"there is no user {name[:80]!r}", field="user")


def no_group(name: str) -> NotFound:
    """The same of a group."""
    return NotFound(f"there is no group {name[:80]!r}", field="group")


def no_token(number: int) -> NotFound:
    """The same of a token."""
    return NotFound(f"there is no token {number}", field="token")
