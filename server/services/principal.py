"""Who asks for something: each use case takes a principal, and decides by it what may be seen and done."""

from dataclasses import dataclass
from enum import StrEnum

from server.errors import CumulusError


class Forbidden(CumulusError):
    """The principal lacks the role that this takes."""

    code = "forbidden"
    http_status = 403


class Role(StrEnum):
    """What somebody may do. USER: with the own jobs; ADMINISTRATOR: everything; AGENT: report on input files."""

    USER = "user"
    ADMINISTRATOR = "administrator"
    AGENT = "agent"


class Scope(StrEnum):
    """What a token is good for: to look, to work with jobs and files, to look after the installation."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


class Established(StrEnum):
    """How it is known who asks.

    DESKTOP_CLAIM: the desktop client has sent a name, which nobody has checked. LOCAL_ADMIN: the command line, which can read the
    installation's home. LOCAL_USER: a user of the controller's computer, as its kernel says. AGENT: an instrument computer's
    agent, which the contract lets report without a name.
    """

    DESKTOP_CLAIM = "desktop_claim"
    LOCAL_ADMIN = "local_admin"
    LOCAL_USER = "local_user"
    AGENT = "agent"


@dataclass(frozen=True)
class Principal:
    """Somebody with a name and roles. ``team``: owners whose jobs it may see, members of its groups that share.

    ``managed``: owners whose jobs it may change, members of the groups that it manages.
    """

    name: str
    roles: frozenset[Role]
    established: Established
    scopes: frozenset[Scope] = frozenset(Scope)
    team: frozenset[str] = frozenset()
    managed: frozenset[str] = frozenset()

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
        """Another user of the controller's computer."""
        return cls(name, frozenset({Role.USER}), Established.LOCAL_USER)

    @classmethod
    def agent(cls) -> "Principal":
        """The agent of an instrument computer."""
        return cls("agent", frozenset({Role.AGENT}), Established.AGENT)

    @property
    def is_administrator(self) -> bool:
        """Whether everything is allowed."""
        return Role.ADMINISTRATOR in self.roles

    def may_see(self, owner: str) -> bool:
        """Whether the things of this owner are the principal's to see."""
        return self.may_use(owner) or (Role.USER in self.roles and owner in self.team)

    def may_use(self, owner: str) -> bool:
        """Whether the things of this owner are the principal's to see and change."""
        return self.is_administrator or (Role.USER in self.roles and (owner == self.name or owner in self.managed))

    def require(self, role: Role) -> None:
        """Raises Forbidden without the role."""
        if role not in self.roles:
            raise Forbidden(f"only an {role} may do this" if role != Role.USER else "only a user may do this")

    def require_scope(self, scope: Scope) -> None:
        """Raises Forbidden without the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this token is not good for that: it lacks the scope {scope}")
