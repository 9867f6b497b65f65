"""Accounts in memory, with the rules that tests of the routes need: who has which token, which session, which password."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.errors import CumulusError
from server.services.principal import ALL_SCOPES, Established, Origin, Principal, Role, Scope

ADA, BOB, MEG, ROOT = "ada", "bob", "meg", "root"


class Refused(CumulusError):
    """A credential that is none (any more)."""

    http_status = 401

    def __init__(self, code: str, message: str = "it does not count") -> None:
        super().__init__(message)
        self.code = code


class NoAccount(CumulusError):
    """The directory knows somebody who has no account here."""

    code = "no_account"
    http_status = 403


class NameTaken(CumulusError):
    """Somebody else has this name."""

    code = "name_taken"
    http_status = 409


@dataclass(frozen=True)
class Session:
    """A session that is open."""

    principal: Principal
    csrf: str
    expires: float


def principal(name: str, how: Established, scopes: frozenset[Scope] = ALL_SCOPES) -> Principal:
    """One of the users: ada and bob are users, meg manages ada's group, root is an administrator."""
    roles = {ROOT: {Role.USER, Role.ADMINISTRATOR}, MEG: {Role.USER, Role.GROUP_MANAGER}}.get(name, {Role.USER})
    if Scope.ADMIN not in scopes:
        roles = roles - {Role.ADMINISTRATOR}
    managed = frozenset({ADA}) if name == MEG else frozenset[str]()
    return Principal(name, frozenset(roles), how, scopes, managed=managed)


@dataclass
class MemoryAccounts:
    """Users with passwords, tokens, sessions and identities at a directory."""

    passwords: dict[str, str] = field(default_factory=lambda: {ADA: "lovelace", BOB: "builder", MEG: "manager", ROOT: "toor"})
    tokens: dict[str, Principal] = field(default_factory=dict)
    links: set[str] = field(default_factory=lambda: {"once"})
    subjects: dict[tuple[str, str], str] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    sessions: dict[str, Session] = field(default_factory=dict)
    log_outs: list[Origin] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.passwords:
            self.tokens[f"cml_{name}"] = principal(name, Established.TOKEN)
            self.tokens[f"cml_{name}_read"] = principal(name, Established.TOKEN, frozenset({Scope.READ}))
        self.tokens["cml_agent"] = Principal("agent", frozenset({Role.AGENT}), Established.TOKEN)

    def by_token(self, text: str) -> Principal:
        if text in ("cml_revoked", "cml_expired"):
            raise Refused(f"token_{text.removeprefix('cml_')}")
        if text not in self.tokens:
            raise Refused("token_unknown")
        return self.tokens[text]

    def require_enabled(self, name: str) -> None:
        if name in self.disabled:
            raise Refused("user_disabled")

    def by_session(self, cookie: str) -> Session:
        if cookie not in self.sessions:
            raise Refused("session_unknown")
        return self.sessions[cookie]

    def log_in(self, name: str, password: str, *, origin: Origin) -> str:
        self.origins.append(origin)
        if self.passwords.get(name) != password or name in self.disabled:
            raise Refused("login_refused", "the name or the password is wrong")
        return self._opened(name)

    def log_in_by_link(self, secret: str, name: str, password: str = "", *, origin: Origin) -> str:
        if secret not in self.links:
            raise Refused("link_invalid")
        self.links.discard(secret)
        self.passwords[name] = password
        return self._opened(name)

    def log_in_by_oidc(self, issuer: str, subject: str, claims: Mapping[str, Any], *, create: bool, origin: Origin) -> str:
        name = self.subjects.get((issuer, subject))
        if name is None:
            name = str(claims["preferred_username"])
            if name in self.passwords:
                raise NameTaken(f"{name} is another one's name")
            if not create:
                raise NoAccount(f"there is no account for {name}")
            self.subjects[issuer, subject] = name
        if name in self.disabled:
            raise Refused("user_disabled")
        return self._opened(name)

    def log_out(self, cookie: str, *, origin: Origin) -> None:
        self.sessions.pop(cookie, None)
        self.log_outs.append(origin)

    def _opened(self, name: str) -> str:
        cookie = secrets.token_urlsafe()
        self.sessions[cookie] = Session(principal(name, Established.SESSION), f"csrf-of-{name}", 4_000_000_000.0)
        return cookie


class MemoryAudit:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def record(
        self, principal: Principal | None, action: str, *, outcome: str, origin: Origin, subject: str = "", code: str = ""
    ) -> None:
        self.lines.append(
            {
                "who": principal.name if principal else "",
                "established": principal.established if principal else "",
                "action": action,
                "subject": subject,
                "outcome": outcome,
                "code": code,
                "address": origin.address,
                "request_id": origin.request_id,
            }
        )

    def of(self, outcome: str) -> list[tuple[str, str, str, str]]:
        """Who has done what to what, with which code."""
        return [
            (line["who"], line["action"], line["subject"], line["code"])
            for line in self.lines
            if line.get("outcome", "ok") == outcome
        ]
