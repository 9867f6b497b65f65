"""The services of accounts, joined: the same limits for all, and one place where passwords are checked."""

import time

from server.services.accounts.audit import AuditService
from server.services.accounts.groups import GroupService
from server.services.accounts.links import LinkService
from server.services.accounts.passwords import Passwords
from server.services.accounts.rules import AccountRules
from server.services.accounts.tokens import TokenService
from server.services.accounts.users import UserService
from server.settings import Settings


class AccountServices:
    """Users, groups, tokens, invitations and the audit of one installation."""

    def __init__(self, settings: Settings, passwords: Passwords | None = None) -> None:
        rules = AccountRules.of(settings)
        self.users = UserService(time.time, passwords)
        self.groups = GroupService(time.time)
        self.tokens = TokenService(time.time, rules)
        self.links = LinkService(time.time, rules)
        self.audit = AuditService(time.time, rules)
