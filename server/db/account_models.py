"""The rows of accounts: User, UserGroup, Membership, ApiToken, Session, LoginLink, AuditEntry; and all tables together.

No row holds a secret in clear: of tokens, sessions and links there is the SHA-256 of a random number of 256 bits, of passwords
argon2's hash. Times are Unix seconds.
"""

from peewee import BooleanField, FloatField, IntegerField, Model, TextField

from server.db import models
from server.db.models import Row


class User(Row):
    """Somebody with an account; ``name`` is the owner of jobs.

    ``name_key``: the same text for all names that people would take for this one.
    """

    name = TextField(unique=True)
    name_key = TextField(unique=True)
    display_name = TextField(default="")
    email = TextField(default="")
    role = TextField(default="user")
    password = TextField(default="")
    oidc_subject = TextField(null=True, unique=True)
    quota_gb = FloatField(null=True)
    created = FloatField()
    disabled_at = FloatField(null=True)
    last_seen = FloatField(null=True)

    class Meta:
        table_name = "user"


class UserGroup(Row):
    """A team. ``shares_jobs``: its members see each other's jobs."""

    name = TextField(unique=True)
    name_key = TextField(unique=True)
    shares_jobs = BooleanField(default=False)
    quota_gb = FloatField(null=True)
    created = FloatField()

    class Meta:
        table_name = "user_group"


class Membership(Row):
    """A user in a group."""

    user_id = IntegerField()
    group_id = IntegerField()
    is_manager = BooleanField(default=False)

    class Meta:
        table_name = "membership"


class ApiToken(Row):
    """A token: its number is in its text, of its secret there is the hash. Without a user it is an agent's.

    ``scopes``: with blanks between.
    """

    user_id = IntegerField(null=True)
    name = TextField()
    role = TextField(default="")
    hash = TextField()
    scopes = TextField()
    created = FloatField()
    created_by = TextField()
    expires = FloatField(null=True)
    revoked_at = FloatField(null=True)
    last_used = FloatField(null=True)

    class Meta:
        table_name = "api_token"


class Session(Row):
    """A log-in. ``hash``: of the cookie; ``csrf``: with the cookie, and only with it, it gives the form's token."""

    hash = TextField(unique=True)
    user_id = IntegerField()
    created = FloatField()
    expires = FloatField()
    last_used = FloatField()
    csrf = TextField()

    class Meta:
        table_name = "session"


class LoginLink(Row):
    """A link that logs somebody in once. ``purpose``: first_admin or invite, which has a user."""

    hash = TextField(unique=True)
    purpose = TextField()
    user_id = IntegerField(null=True)
    created = FloatField()
    expires = FloatField()
    used_at = FloatField(null=True)

    class Meta:
        table_name = "login_link"


class AuditEntry(Row):
    """Who changed what, or was refused what. ``count``: how often until ``last_at``."""

    at = FloatField()
    who = TextField()
    established = TextField()
    address = TextField(default="")
    action = TextField()
    subject = TextField(default="")
    outcome = TextField(default="ok")
    code = TextField(default="")
    detail = TextField(default="")
    request_id = TextField(default="")
    count = IntegerField(default=1)
    last_at = FloatField()

    class Meta:
        table_name = "audit"


# In an order in which each may refer to those before it.
ACCOUNT_TABLES: tuple[type[Row], ...] = (User, UserGroup, Membership, ApiToken, Session, LoginLink, AuditEntry)
TABLES: tuple[type[Model], ...] = (*models.TABLES, *ACCOUNT_TABLES)
