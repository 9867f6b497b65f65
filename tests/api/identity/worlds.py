"""Who has which token, by both kinds of accounts: those in memory and those in the controller's database."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from server.api.identity.accounts import Accounts
from server.db.account_models import AuditEntry
from server.services.accounts.audit import AuditService
from server.services.accounts.users import NewUser
from server.services.principal import Principal
from tests.api.identity.accounts import ADA, BOB, MEG, ROOT, MemoryAccounts, MemoryAudit
from tests.services.accounts.conftest import Accounts as Services
from tests.services.accounts.conftest import Clock

DAY_S = 86_400
TIM = "tim"  # a member of a group of ada's that shares its jobs
PASSWORDS = {ADA: "lovelace lovelace", BOB: "builder builder", MEG: "manager manager", ROOT: "administrator"}
NEW_PASSWORD = "a password for eve"


class World(Protocol):
    """Users with their ways in."""

    tokens: dict[str, str]

    @property
    def accounts(self) -> Accounts:
        """What an application is made with."""

    def invitation(self) -> tuple[str, str]:
        """A user's name, and the secret of a link for that user."""

    def recorded(self) -> list[dict[str, Any]]:
        """The lines of the audit."""


@dataclass
class MemoryWorld:
    """Accounts in memory."""

    memory: MemoryAccounts = field(default_factory=lambda: MemoryAccounts(dict(PASSWORDS)))
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    tokens: dict[str, str] = field(
        default_factory=lambda: {
            "user": f"cml_{ADA}",
            "other": f"cml_{BOB}",
            "manager": f"cml_{MEG}",
            "admin": f"cml_{ROOT}",
            "agent": "cml_agent",
            "revoked": "cml_revoked",
            "expired": "cml_expired",
        }
    )

    @property
    def accounts(self) -> Any:
        return Accounts(self.memory, self.audit)  # type: ignore[arg-type]

    def invitation(self) -> tuple[str, str]:
        self.memory.links = {"once"}
        return "eve", "once"

    def recorded(self) -> list[dict[str, Any]]:
        return self.audit.lines


class DatabaseWorld:
    """Accounts of the database that is open, made by the services."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.services = Services(self.clock)
        self._root = Principal.local_admin("root")
        self._invited = 0
        for name in (ADA, BOB, MEG):
            self.services.user(name, password=PASSWORDS[name])
        self.services.user(TIM)
        self.services.user(ROOT, role="admin", password=PASSWORDS[ROOT])
        self.services.groups.create(self._root, "lab")
        self.services.groups.add_member(self._root, "lab", ADA)
        self.services.groups.add_member(self._root, "lab", MEG, is_manager=True)
        self.services.groups.create(self._root, "team", shares_jobs=True)
        for name in (ADA, TIM):
            self.services.groups.add_member(self._root, "team", name)
        self.tokens = {
            "user": ADA,
            "other": BOB,
            "teammate": TIM,
            "manager": MEG,
            "admin": ROOT,
            "revoked": ADA,
            "expired": ADA,
            "reader": ADA,
        }
        self.tokens = {kind: self._token(name, kind) for kind, name in self.tokens.items()}
        self.tokens["agent"] = self.services.tokens.create_for_agent(self._root, "instrument", days=30).text
        self.clock.now += 2 * DAY_S

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.services.authenticator, AuditService(self.clock))

    def invitation(self) -> tuple[str, str]:
        self._invited += 1
        name = f"eve{self._invited}"
        self.services.users.create(self._root, NewUser(name))
        return name, self.services.links.invite(self._root, name).secret

    def recorded(self) -> list[dict[str, Any]]:
        return list(AuditEntry.select().order_by(AuditEntry.id).dicts())

    def _token(self, name: str, kind: str) -> str:
        days = 1 if kind == "expired" else 30
        scopes = ("read",) if kind == "reader" else ("admin",)
        made = self.services.tokens.create(self._root, kind, scopes, days=days, owner=name)
        if kind == "revoked":
            self.services.tokens.revoke(self._root, made.view.id)
        return made.text
