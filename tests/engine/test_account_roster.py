"""Accounts outlive a lost database, and a backup in the database's place gives nobody back what was taken away since."""

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from server.app import Controller, make_controller, rebuild_database
from server.db.account_models import ApiToken, LoginLink, Session, User
from server.db.account_queries import GENERATION
from server.db.connection import open_database
from server.db.models import Job
from server.db.settings_store import read_setting
from server.engine.records import account_roster
from server.engine.records.account_roster import RESTORED, read_roster, reconcile, roster_path, why_older
from server.engine.records.database_owner import take_as_own, why_lost
from server.engine.records.storage_owner import require_own_storage
from server.home.files import InTheWay
from server.home.installation import installation_id
from server.progress import Lines
from server.services.accounts.errors import LoginRefused, SessionUnknown, TokenRevoked, TokenUnknown, Unauthenticated
from server.services.accounts.groups import GroupChanges
from server.services.accounts.users import NewUser, UserChanges
from server.services.database import DatabaseService
from server.settings import Settings
from server.workers.clouds.local import LocalCloud
from tests.conftest import submission
from tests.disks import needs_root
from tests.services.accounts.conftest import NOW, PASSWORD, ROOT, Accounts, Clock

LATER = NOW + 1000.0


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def accounts(settings: Settings, clock: Clock) -> Iterator[Accounts]:
    """All services on an installation's database that no controller has open."""
    database = open_database(settings.database)
    require_own_storage(settings)
    take_as_own(database, settings, installation_id(settings.home))
    made = Accounts(clock)
    for name, role in (("boss", "admin"), ("deputy", "admin"), ("ada", "user"), ("bob", "user")):
        made.user(name, role)
    made.groups.create(ROOT, "ms", shares_jobs=True)
    made.groups.add_member(ROOT, "ms", "ada", is_manager=True)
    made.groups.add_member(ROOT, "ms", "bob")
    yield made
    database.close()


def backup(settings: Settings, target: Path) -> Path:
    return DatabaseService(settings).backup(ROOT, target, Lines(print))


def restore(settings: Settings, copy: Path) -> None:
    """As docs/operations.md says it."""
    User._meta.database.close()
    for suffix in ("-wal", "-shm"):
        settings.database.with_name(settings.database.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, settings.database)
    open_database(settings.database)


def start(settings: Settings) -> None:
    """What a controller does with its database before it answers."""
    take_as_own(User._meta.database, settings, installation_id(settings.home))


def test_an_installation_without_accounts_has_no_roster(settings: Settings) -> None:
    open_database(settings.database)
    require_own_storage(settings)
    start(settings)
    assert not roster_path(settings.database).exists()
    assert why_older(settings.database) == ""
    User._meta.database.close()


def test_the_roster_has_what_the_database_has(settings: Settings, accounts: Accounts) -> None:
    roster = read_roster(settings.database)
    assert roster is not None
    assert roster.generations == (read_setting(GENERATION),)
    assert {name: user.is_admin for name, user in roster.users.items()} == {
        "boss": True,
        "deputy": True,
        "ada": False,
        "bob": False,
    }
    assert roster.groups["ms"].members == {"ada": True, "bob": False}
    assert roster_path(settings.database).stat().st_mode & 0o777 == 0o600


def test_a_start_with_the_right_database_takes_nothing_away(settings: Settings, accounts: Accounts, tmp_path: Path) -> None:
    text, cookie = accounts.token("ada"), accounts.authenticator.log_in("ada", PASSWORD)
    copy = backup(settings, tmp_path / "copy.sqlite")
    for act in (start, lambda settings: restore(settings, copy), start):
        act(settings)
        assert accounts.authenticator.by_token(text).name == "ada"
        assert accounts.authenticator.by_session(cookie).principal.name == "ada"
    assert read_setting(RESTORED) == ""


WITHDRAWALS: dict[str, Callable[[Accounts], object]] = {
    "a token": lambda every: every.tokens.revoke(ROOT, ApiToken.get().id),
    "a user disabled": lambda every: every.users.disable(ROOT, "bob"),
    "a user deleted": lambda every: every.users.delete(ROOT, "bob"),
    "an administrator demoted": lambda every: every.users.change(ROOT, "deputy", UserChanges(role="user")),
    "a password": lambda every: every.users.set_password(ROOT, "bob", "another password"),
    "the directory": lambda every: every.users.change(ROOT, "bob", UserChanges(oidc_subject="https://id.lab 2")),
    "a member": lambda every: every.groups.remove_member(ROOT, "ms", "bob"),
    "a manager": lambda every: every.groups.add_member(ROOT, "ms", "ada", is_manager=False),
    "sharing": lambda every: every.groups.change(ROOT, "ms", GroupChanges(shares_jobs=False)),
    "a group": lambda every: every.groups.delete(ROOT, "ms"),
    "a session": lambda every: every.authenticator.log_out(every.authenticator.log_in("bob", PASSWORD)),
}


def rights() -> dict[str, object]:
    """All that gives somebody anything, as the database has it."""
    database = User._meta.database
    return {
        "users": database.execute_sql(
            "SELECT name, role, password <> '', oidc_subject FROM user WHERE disabled_at IS NULL"
        ).fetchall(),
        "members": database.execute_sql(
            "SELECT g.name, u.name, m.is_manager, g.shares_jobs FROM membership m"
            " JOIN user u ON u.id = m.user_id JOIN user_group g ON g.id = m.group_id"
        ).fetchall(),
        "tokens": ApiToken.select().where(ApiToken.revoked_at.is_null()).count(),
        "sessions": Session.select().count(),
        "links": LoginLink.select().where(LoginLink.used_at.is_null()).count(),
    }


@pytest.mark.parametrize("what", list(WITHDRAWALS))
def test_a_backup_gives_back_nothing_that_was_taken_away(
    settings: Settings, accounts: Accounts, tmp_path: Path, what: str
) -> None:
    accounts.users.change(ROOT, "bob", UserChanges(oidc_subject="https://id.lab 1"))
    text, cookie = accounts.token("bob"), accounts.authenticator.log_in("bob", PASSWORD)
    link = accounts.links.invite(ROOT, "bob").secret
    copy = backup(settings, tmp_path / "copy.sqlite")
    WITHDRAWALS[what](accounts)
    before = rights()
    restore(settings, copy)
    assert rights() != before or what == "a session", "else this shows nothing"
    with structlog.testing.capture_logs() as logged:
        start(settings)
    assert [one["event"] for one in logged if "restored" in one["event"]]
    after = rights()
    assert (after["tokens"], after["sessions"], after["links"]) == (0, 0, 0)
    allowed = {name: (role, has_password, oidc) for name, role, has_password, oidc in before["users"]}  # type: ignore[attr-defined]
    for name, role, _, oidc in after["users"]:  # type: ignore[attr-defined]
        assert name in allowed
        assert role == "user" or allowed[name][0] == "admin"
        assert not oidc or oidc == allowed[name][2]
    assert {one[:2] for one in after["members"]} <= {one[:2] for one in before["members"]}  # type: ignore[attr-defined]
    for group, name, manages, shares in after["members"]:  # type: ignore[attr-defined]
        same = next(one for one in before["members"] if one[:2] == (group, name))  # type: ignore[attr-defined]
        assert (manages, shares) <= (same[2], same[3])
    for act in (
        lambda: accounts.authenticator.by_token(text),
        lambda: accounts.authenticator.by_session(cookie),
        lambda: accounts.authenticator.log_in_by_link(link, "", "a third password"),
    ):
        with pytest.raises(Unauthenticated):
            act()
    if what in ("a user disabled", "a user deleted", "a password"):
        with pytest.raises(LoginRefused):
            accounts.authenticator.log_in("bob", PASSWORD)
    assert accounts.session("boss").is_administrator, "who has kept everything logs in as before"
    assert "tokens" in read_setting(RESTORED)
    assert why_older(settings.database) == ""
    start(settings)
    assert accounts.session("boss").is_administrator


def test_what_was_given_since_the_backup_is_lost_with_it(settings: Settings, accounts: Accounts, tmp_path: Path) -> None:
    copy = backup(settings, tmp_path / "copy.sqlite")
    accounts.user("new", "admin")
    text = accounts.token("new")
    restore(settings, copy)
    start(settings)
    with pytest.raises(TokenUnknown):
        accounts.authenticator.by_token(text)
    assert "new" not in {view.name for view in accounts.users.list(ROOT)}


@pytest.mark.parametrize("damage", ["", "{", '{"version": 2}', None])
def test_without_a_roster_nobody_gets_in_until_an_administrator_says_so(
    settings: Settings, accounts: Accounts, damage: str | None
) -> None:
    text = accounts.token("ada")
    accounts.users.disable(ROOT, "bob")
    path = roster_path(settings.database)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    start(settings)
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(text)
    for name in ("boss", "ada", "bob"):
        with pytest.raises(LoginRefused):
            accounts.authenticator.log_in(name, PASSWORD)
    assert accounts.first_admin.link("http://x"), "nobody can administer it"
    assert accounts.users.enable_restored(ROOT) == ("ada", "boss", "deputy"), "not bob, who was disabled before"
    assert accounts.session("ada").managed == {"ada", "bob"}
    assert accounts.users.enable_restored(ROOT) == ()


def test_after_that_the_first_link_lets_a_former_administrator_in(settings: Settings, accounts: Accounts) -> None:
    roster_path(settings.database).unlink()
    start(settings)
    link = accounts.first_admin.link("http://x")
    assert link is not None
    cookie = accounts.authenticator.log_in_by_link(link.rpartition("=")[2], "boss", "a new password")
    boss = accounts.authenticator.by_session(cookie).principal
    assert boss.is_administrator
    assert accounts.users.enable_restored(boss) == ("ada", "bob", "deputy")


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to nowhere"])
def test_what_is_no_file_is_no_roster_and_is_set_aside(settings: Settings, accounts: Accounts, kind: str) -> None:
    path = roster_path(settings.database)
    path.unlink()
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "link to nowhere": lambda: path.symlink_to("nowhere")}[kind]()
    start(settings)
    assert accounts.users.enable_restored(ROOT) == ("ada", "bob", "boss", "deputy")
    assert accounts.session("ada").name == "ada"
    assert list(settings.home.glob("accounts.cumulus.sqlite.broken-*"))


def test_another_user_s_roster_is_refused_and_disables_nobody(
    settings: Settings, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(account_roster, "read_own_text", refuse)
        for act in (lambda: start(settings), lambda: accounts.users.disable(ROOT, "bob")):
            with pytest.raises(InTheWay, match=r"accounts\.cumulus\.sqlite"):
                act()
    assert accounts.session("bob").name == "bob"


@needs_root
def test_root_s_command_leaves_the_roster_to_the_controller_s_user(settings: Settings, accounts: Accounts) -> None:
    for path in settings.home.glob("cumulus.sqlite*"):
        os.chown(path, 65534, 65534)
    accounts.users.disable(ROOT, "bob")
    found = roster_path(settings.database).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o600)


def test_a_lost_roster_is_written_again_by_a_controller_at_work(settings: Settings, accounts: Accounts) -> None:
    User._meta.database.guard()
    text = accounts.token("ada")
    roster_path(settings.database).unlink()
    accounts.user("new")
    assert accounts.authenticator.by_token(text).name == "ada"
    roster = read_roster(settings.database)
    assert roster is not None
    assert roster.generations == (read_setting(GENERATION),)


def test_a_change_before_the_first_start_does_not_hide_that_a_backup_was_restored(
    settings: Settings, accounts: Accounts, tmp_path: Path
) -> None:
    text = accounts.token("ada")
    copy = backup(settings, tmp_path / "copy.sqlite")
    accounts.tokens.revoke_all(ROOT)
    restore(settings, copy)
    assert accounts.authenticator.by_token(text).name == "ada", "no controller has started, and nothing has looked"
    accounts.user("new")
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(text)


def test_a_kill_between_change_and_roster_costs_nothing_and_hides_nothing(
    settings: Settings, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = accounts.token("ada")
    copy = backup(settings, tmp_path / "copy.sqlite")

    class Killed(BaseException):
        pass

    def die(database: Path) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("server.services.accounts.changes.confirm", die)
        with pytest.raises(Killed):
            accounts.users.disable(ROOT, "bob")
    assert len(read_roster(settings.database).generations) == 2  # type: ignore[union-attr]
    start(settings)
    assert accounts.authenticator.by_token(text).name == "ada"
    assert len(read_roster(settings.database).generations) == 1  # type: ignore[union-attr]
    restore(settings, copy)
    start(settings)
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(text)
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in("bob", PASSWORD)


def test_a_kill_before_the_change_is_stored_leaves_the_former_state_valid(
    settings: Settings, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = accounts.token("ada")
    real = account_roster._write

    def write(database: Path, generations: tuple[str, ...]) -> None:
        real(database, generations)
        raise InTheWay("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(account_roster, "_write", write)
        with pytest.raises(InTheWay):
            accounts.users.disable(ROOT, "bob")
    assert accounts.session("bob").name == "bob", "what cannot be kept from coming back is not done"
    start(settings)
    assert accounts.authenticator.by_token(text).name == "ada"


def test_the_roster_tells_no_secret(settings: Settings, accounts: Accounts) -> None:
    text = accounts.token("ada")
    accounts.users.change(ROOT, "ada", UserChanges(oidc_subject="https://id.lab 17"))
    content = roster_path(settings.database).read_text()
    assert set(json.loads(content)) == {"version", "generations", "users", "groups"}
    for secret in (PASSWORD, text.split("_", 2)[2], User.get(User.name == "ada").password, "https://id.lab 17"):
        assert secret not in content


# a lost database


def rebuilt(settings: Settings) -> None:
    User._meta.database.close()
    rebuild_database(settings, LATER, Lines(print))
    open_database(settings.database)
    start(settings)


def test_accounts_outlive_a_rebuild_of_the_database(settings: Settings, accounts: Accounts) -> None:
    live, dead = accounts.token("ada"), accounts.token("bob")
    accounts.tokens.revoke(ROOT, accounts.authenticator.by_token(dead).token_id or 0)
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    tables = ("user", "user_group", "membership", "api_token", "session", "login_link", "audit")
    before = {name: User._meta.database.execute_sql(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in tables}
    rebuilt(settings)
    after = {name: User._meta.database.execute_sql(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in tables}
    assert after == before
    assert accounts.authenticator.by_token(live).name == "ada"
    assert accounts.authenticator.by_session(cookie).principal.managed == {"ada", "bob"}
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(dead)
    assert accounts.token("ada").split("_")[1] == "3", "the next number, not one that was given"
    assert User._meta.database.execute_sql("PRAGMA foreign_key_check").fetchall() == []


def test_the_accounts_of_a_lost_file_are_lost_and_the_first_link_comes_again(settings: Settings, accounts: Accounts) -> None:
    text = accounts.token("ada")
    User._meta.database.close()
    for path in settings.home.glob("cumulus.sqlite*"):
        path.unlink()
    rebuilt(settings)
    assert accounts.users.list(ROOT) == []
    with pytest.raises(TokenUnknown):
        accounts.authenticator.by_token(text)
    link = accounts.first_admin.link("http://x")
    assert link is not None
    assert accounts.authenticator.log_in_by_link(link.rpartition("=")[2], "boss", PASSWORD)


@pytest.mark.parametrize("damage", ["no database", "a table", "another installation", "an older version"])
def test_accounts_that_cannot_be_relied_on_are_not_taken(settings: Settings, accounts: Accounts, damage: str) -> None:
    text = accounts.token("ada")
    User._meta.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    User._meta.database.close()
    if damage == "no database":
        settings.database.write_bytes(b"x" * 8192)
    else:
        with sqlite3.connect(settings.database) as connection:
            if damage == "an older version":
                connection.execute("DROP TABLE login_link")
            elif damage == "another installation":
                connection.execute("UPDATE switch SET value = 'c000000000000' WHERE name = 'installation'")
            else:
                page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'api_token'").fetchone()[0]
                size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.close()
        if damage == "a table":
            with settings.database.open("r+b") as file:
                file.seek((page - 1) * size)
                file.write(b"\xff" * size)
    rebuilt(settings)
    assert accounts.users.list(ROOT) == []
    with pytest.raises(TokenUnknown):
        accounts.authenticator.by_token(text)
    assert list(settings.home.glob("cumulus.sqlite.before-*")), "the file is kept, whatever it holds"


def test_a_backup_that_lacks_jobs_is_rebuilt_and_gives_no_token_back(
    settings: Settings, accounts: Accounts, cloud: LocalCloud, tmp_path: Path
) -> None:
    text, cookie = accounts.token("ada"), accounts.authenticator.log_in("ada", PASSWORD)
    copy = backup(settings, tmp_path / "copy.sqlite")
    accounts.tokens.revoke(ROOT, accounts.authenticator.by_token(text).token_id or 0)
    accounts.users.disable(ROOT, "bob")
    User._meta.database.close()
    cloud.start()
    controller: Controller = make_controller(settings, cloud)
    job = controller.jobs.submit(*submission("ada"))
    controller.loop.stop(grace_s=5)
    controller.database.close()
    cloud.stop()
    restore(settings, copy)
    User._meta.database.close()
    assert why_lost(settings, installation_id(settings.home))
    rebuilt(settings)
    assert Job.get_by_id(job.id).owner == "ada"
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(text)
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(cookie)
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in("bob", PASSWORD)
    assert accounts.session("ada").name == "ada"


def test_reconciling_by_hand_is_the_same_once_and_again(settings: Settings, accounts: Accounts) -> None:
    assert reconcile(settings.database, NOW) is None
    roster_path(settings.database).unlink()
    withdrawn = reconcile(settings.database, NOW)
    assert withdrawn is not None
    assert withdrawn.users == 4
    assert reconcile(settings.database, NOW) is None
    accounts.users.create(ROOT, NewUser("new"))
    assert reconcile(settings.database, NOW) is None
