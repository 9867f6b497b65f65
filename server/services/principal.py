"""Who asks for something: each use case takes a principal, and decides by it what may be seen and done."""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from server.errors import CumulusError

# The desktop client puts an owner into its page as it is, so nothing that could be markup; a login of any system fits.
OWNER_NAME = re.compile(r"[\w@+][\w@+. -]{0,63}")


class Forbidden(CumulusError):
    """The principal lacks the role that this takes, or may not do it for another reason."""

    code = "forbidden"
    http_status = 403


class ScopeMissing(Forbidden):
    """The token was made for less than this."""

    code = "scope_missing"


class Role(StrEnum):
    """What somebody may do. USER: with the own jobs; GROUP_MANAGER: with those of the own groups' members, too; ADMINISTRATOR:
    everything; AGENT: report on input files.
    """

    USER = "user"
    GROUP_MANAGER = "group_manager"
    ADMINISTRATOR = "administrator"
    AGENT = "agent"

    @property
    def described(self) -> str:
        """The role with its article, for messages."""
        words = self.replace("_", " ")
        return f"an {words}" if words[0] == "a" else f"a {words}"


class Scope(StrEnum):
    """What a token was made for. READ: see jobs and files; SUBMIT: make and change jobs; ADMIN: change accounts, administer.

    A scope gives nothing that the user's roles do not.
    """

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class Established(StrEnum):
    """How it is known who asks.

    DESKTOP_CLAIM: the desktop client has sent a name, which nobody has checked. LOCAL_ADMIN: the command line, which can read the
    installation's home. LOCAL_USER: another user of this computer, as its kernel says. AGENT: an instrument computer's agent,
    which the contract lets report without a name. TOKEN: an API token. SESSION: a log-in.
    """

    DESKTOP_CLAIM = "desktop_claim"
    LOCAL_ADMIN = "local_admin"
    LOCAL_USER = "local_user"
    AGENT = "agent"
    TOKEN = "token"  # noqa: S105  # a word, no secret
    SESSION = "session"


@dataclass(frozen=True)
class Origin:
    """Where a request came from: the client's address, and the number that the log has for it; "" each for a command."""

    address: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class Principal:
    """Somebody with a name and roles.

    ``team``: owners whose jobs it may see, members of its groups that share. ``managed``: owners whose jobs it may change,
    members of the groups that it manages. ``token_id``: of the token that it came with. ``origin`` is for the audit alone.
    """

    name: str
    roles: frozenset[Role]
    established: Established
    scopes: frozenset[Scope] = ALL_SCOPES
    team: frozenset[str] = frozenset()
    managed: frozenset[str] = frozenset()
    token_id: int | None = None
    origin: Origin = field(default=Origin(), compare=False, repr=False)

    @classmethod
    def desktop(cls, name: str) -> "Principal":
        """Whoever the desktop client says that its user is."""
        return cls(name, frozenset({Role.USER}), Established.DESKTOP_CLAIM)

    @classmethod
    def local_admin(cls, name: str) -> "Principal":
        """Who runs a command beside the installation's home."""
        return cls(name, frozenset({Role.USER, Role.ADMINISTRATOR}), Established.LOCAL_ADMIN)

    @classmethod
    def local_user(cls, name: str) -> "Principal":
        """Another user of this computer, by the login that its kernel vouches for."""
        return cls(name, frozenset({Role.USER}), Established.LOCAL_USER)

    @classmethod
    def agent(cls) -> "Principal":
        """The agent of an instrument computer."""
        return cls("agent", frozenset({Role.AGENT}), Established.AGENT)

    def asking_from(self, origin: Origin) -> "Principal":
        """The same principal, with the origin of one request for the audit."""
        return replace(self, origin=origin)

    @property
    def is_administrator(self) -> bool:
        """Whether everything is allowed."""
        return Role.ADMINISTRATOR in self.roles

    def may_see(self, owner: str) -> bool:
        """Whether the principal may see the things of this owner; a token needs the scope READ for it."""
        return Scope.READ in self.scopes and (self._owns(owner) or (Role.USER in self.roles and owner in self.team))

    def may_use(self, owner: str) -> bool:
        """Whether the things of this owner are the principal's to change; a token needs the scope SUBMIT for it."""
        return Scope.SUBMIT in self.scopes and self._owns(owner)

    def require(self, role: Role) -> None:
        """Raises Forbidden without the role. An administrator may do what a group manager may."""
        if role in self.roles or (role is Role.GROUP_MANAGER and self.is_administrator):
            return
        raise Forbidden(f"only {role.described} may do this")

    def require_scope(self, scope: Scope) -> None:
        """Raises Forbidden where the token lacks the scope."""
        if scope not in self.scopes:
            raise ScopeMissing(f"this token lacks the scope {scope}: use one that has it")

    def _owns(self, owner: str) -> bool:
        return self.is_administrator or (Role.USER in self.roles and (owner == self.name or owner in self.managed))
