"""The roster beside the database: who has which rights, so that a backup in the database's place gives none back.

A backup has tokens that were revoked since, users who were removed, passwords that were changed. Each change of somebody's rights
gives the database another *generation* (a random number) and writes it, with all rights as they are then, into the roster. While
the two have the same generation nothing was restored. Where they differ all tokens, sessions and links end, and everybody keeps
only what database and roster both give; without a roster nobody knows what was taken away, and all users are disabled.

The file is in the database's folder under a name that does not begin with the database's, so that copying that one with what
belongs to it leaves the roster. It holds no secret.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from server.db.account_models import ApiToken, LoginLink, Membership, Session, User, UserGroup
from server.db.account_queries import GENERATION
from server.db.models import Job
from server.db.settings_store import read_setting, write_setting
from server.db.transactions import exclusive
from server.db.transitions import Change
from server.home.files import in_the_way, read_own_text, set_aside, write_own

RESTORED = "accounts_restored"  # the stored setting that says when, and what became of it
ADMIN = "admin"
WHO = "controller"
log = structlog.get_logger()


class KnownUser(BaseModel):
    """An enabled user. ``password``, ``oidc``: what changes when the password, or the directory's subject, does."""

    model_config = ConfigDict(frozen=True)

    is_admin: bool
    password: str
    oidc: str


class KnownGroup(BaseModel):
    """A group: each member's name, and whether that one is a manager."""

    model_config = ConfigDict(frozen=True)

    shares_jobs: bool
    members: dict[str, bool]


class Roster(BaseModel):
    """What the file holds. ``generations``: those that the database may have; two while a change is under way."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    generations: tuple[str, ...]
    users: dict[str, KnownUser]
    groups: dict[str, KnownGroup]


@dataclass(frozen=True)
class Withdrawn:
    """What a restored database has lost."""

    tokens: int
    sessions: int
    links: int
    users: int

    def __str__(self) -> str:
        return (
            f"{self.tokens} tokens, {self.sessions} sessions and {self.links} links were ended, {self.users} users were disabled"
            " or have fewer rights"
        )


def database_path() -> Path:
    """The file of the database that is open."""
    return Path(str(Job._meta.database.database))


def roster_path(database: Path) -> Path:
    """Where the roster of a database lies."""
    return database.with_name(f"accounts.{database.name}")


def why_older(database: Path) -> str:
    """What shows that the open database was restored or replaced since its accounts were last changed; "" where nothing does."""
    here, roster = read_setting(GENERATION), read_roster(database)
    if roster is None:
        return f"{roster_path(database)} is missing or unreadable" if here else ""
    return "" if here in roster.generations else "it has not the last change of the accounts"


def reconcile(database: Path, now: float) -> Withdrawn | None:
    """Where the open database was restored, end what it may have given back; returns what that was. Raises InTheWay."""
    with exclusive():
        why = why_older(database)
        if not why:
            if read_setting(GENERATION):
                confirm(database)
            return None
        withdrawn = _withdraw(read_roster(database), now)
        change = Change(now, who=WHO)
        write_setting(RESTORED, f"{time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(now))}: {withdrawn}", change)
        announce(database, now)
    confirm(database)
    log.warning("the database was restored: what its accounts may have got back is withdrawn", why=why, detail=str(withdrawn))
    return withdrawn


def require_current(database: Path, now: float) -> None:
    """Before a change of accounts: as at a start. A controller at work has the right database, and writes a lost roster again."""
    if getattr(Job._meta.database, "is_guarded", False) and read_roster(database) is None:
        return
    if why_older(database):
        reconcile(database, now)  # which looks again, while nobody writes


def announce(database: Path, now: float) -> None:
    """At the end of a transaction that has changed rights: a new generation, and a roster that allows it and the one before.

    Raises InTheWay.
    """
    before, new = read_setting(GENERATION), secrets.token_hex(16)
    write_setting(GENERATION, new, Change(now, who=WHO))
    _write(database, tuple(one for one in (before, new) if one))


def confirm(database: Path) -> None:
    """After that transaction: the roster allows what the database has and nothing before it. Raises InTheWay."""
    with exclusive():
        _write(database, (read_setting(GENERATION),))


def read_roster(database: Path) -> Roster | None:
    """The roster; None where there is none, or something else. Raises InTheWay where it is another user's."""
    try:
        return Roster.model_validate_json(read_own_text(roster_path(database)))
    except PermissionError as problem:  # it may be sound, so nobody is disabled for it
        raise in_the_way(problem) from None
    except (OSError, ValueError, ValidationError):
        return None


def _write(database: Path, generations: tuple[str, ...]) -> None:
    path = roster_path(database)
    if os.path.lexists(path) and read_roster(database) is None:
        set_aside(path, "it is no roster of accounts")
    known = _known_groups()
    users = {
        user.name: KnownUser(is_admin=user.role == ADMIN, password=_stamp(user.password), oidc=_stamp(user.oidc_subject or ""))
        for user in User.select().where(User.disabled_at.is_null())
    }
    write_own(path, Roster(generations=generations, users=users, groups=known).model_dump_json(indent=1) + "\n")
    if os.geteuid() == 0:  # a command of root's beside a controller of another user's, who must read it
        found = database.stat()
        os.chown(path, found.st_uid, found.st_gid)
    for one in (path, path.parent):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _known_groups() -> dict[str, KnownGroup]:
    names = {user.id: user.name for user in User.select(User.id, User.name)}
    members: dict[int, dict[str, bool]] = {}
    for one in Membership.select():
        members.setdefault(one.group_id, {})[names[one.user_id]] = bool(one.is_manager)
    return {
        group.name: KnownGroup(shares_jobs=bool(group.shares_jobs), members=members.get(group.id, {}))
        for group in UserGroup.select()
    }


def _stamp(text: str) -> str:
    """Changes with the text and tells nothing of it: a password's hash has a random salt."""
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def _withdraw(roster: Roster | None, now: float) -> Withdrawn:
    tokens = ApiToken.update(revoked_at=now).where(ApiToken.revoked_at.is_null()).execute()
    sessions = Session.delete().execute()
    links = LoginLink.update(used_at=now).where(LoginLink.used_at.is_null()).execute()
    users = sum(_narrow_user(user, None if roster is None else roster.users.get(user.name), now) for user in User.select())
    if roster is not None:
        _narrow_groups(roster.groups)
    return Withdrawn(tokens, sessions, links, users)


def _narrow_user(user: User, known: KnownUser | None, now: float) -> bool:
    """Give a user no more than is known; whether anything was taken away."""
    fields: dict[str, object] = {}
    if known is None:
        if user.disabled_at is None:
            fields["disabled_at"] = now
    else:
        if user.role == ADMIN and not known.is_admin:
            fields["role"] = "user"
        if user.password and _stamp(user.password) != known.password:
            fields["password"] = ""
        if user.oidc_subject and _stamp(user.oidc_subject) != known.oidc:
            fields["oidc_subject"] = None
    if fields:
        User.update(**fields).where(User.id == user.id).execute()
    return bool(fields)


def _narrow_groups(known: Mapping[str, KnownGroup]) -> None:
    names = {user.id: user.name for user in User.select(User.id, User.name)}
    for group in UserGroup.select():
        there = known.get(group.name) or KnownGroup(shares_jobs=False, members={})
        if group.shares_jobs and not there.shares_jobs:
            UserGroup.update(shares_jobs=False).where(UserGroup.id == group.id).execute()
        for one in Membership.select().where(Membership.group_id == group.id):
            name = names[one.user_id]
            if name not in there.members:
                Membership.delete().where(Membership.id == one.id).execute()
            elif one.is_manager and not there.members[name]:
                Membership.update(is_manager=False).where(Membership.id == one.id).execute()
