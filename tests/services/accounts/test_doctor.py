"""What `cumulus doctor` says of the accounts."""

from pathlib import Path

import pytest

from server.engine.records.account_roster import reconcile, roster_path
from server.errors import CumulusError
from server.services.doctor import _accounts, describe_accounts
from server.settings import Settings
from tests.services.accounts.conftest import NOW, ROOT, Accounts


def test_it_counts_who_gets_in(accounts: Accounts, path: Path) -> None:
    assert describe_accounts(path) == (
        "0 users who are not disabled, 0 of them administrators; `cumulus serve` prints a link for the first one"
    )
    accounts.user("boss", "admin")
    accounts.user("ada")
    accounts.users.disable(ROOT, accounts.user("off"))
    assert describe_accounts(path) == "2 users who are not disabled, 1 of them administrators"


def test_it_says_that_a_backup_was_restored_before_and_after_the_next_start(accounts: Accounts, path: Path) -> None:
    accounts.user("boss", "admin")
    roster_path(path).unlink()
    with pytest.raises(CumulusError, match="the next start of the controller ends all tokens, sessions and links"):
        describe_accounts(path)
    reconcile(path, NOW)
    assert "the database was restored on 2030-03-17" in describe_accounts(path)
    assert "1 users were disabled" in describe_accounts(path)


def test_without_an_installation_there_are_none(settings: Settings) -> None:
    assert _accounts(settings) == "there are none that can be read"
    assert not settings.home.exists()
