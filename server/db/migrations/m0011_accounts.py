"""Accounts: users, groups, tokens, sessions, links that log in once, and the audit. No secret is stored in clear."""

STATEMENTS = (
    """
    CREATE TABLE user (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        name_key TEXT NOT NULL UNIQUE,
        display_name TEXT NOT NULL,
        email TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
        password TEXT NOT NULL,
        oidc_subject TEXT UNIQUE,
        quota_gb REAL,
        created REAL NOT NULL,
        disabled_at REAL,
        last_seen REAL
    )
    """,
    # Whether there is an administrator is asked at each start and each change of one.
    "CREATE INDEX user_admin ON user (id) WHERE role = 'admin' AND disabled_at IS NULL",
    """
    CREATE TABLE user_group (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        name_key TEXT NOT NULL UNIQUE,
        shares_jobs INTEGER NOT NULL,
        quota_gb REAL,
        created REAL NOT NULL
    )
    """,
    """
    CREATE TABLE membership (
        id INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
        group_id INTEGER NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
        is_manager INTEGER NOT NULL,
        UNIQUE (user_id, group_id)
    )
    """,
    "CREATE INDEX membership_group ON membership (group_id)",
    # AUTOINCREMENT: a token's number is in its text and in the audit, so it is never given twice.
    """
    CREATE TABLE api_token (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user_id INTEGER REFERENCES user (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('', 'agent')),
        hash TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created REAL NOT NULL,
        created_by TEXT NOT NULL,
        expires REAL,
        revoked_at REAL,
        last_used REAL,
        CHECK ((user_id IS NULL) = (role = 'agent'))
    )
    """,
    "CREATE INDEX api_token_user ON api_token (user_id)",
    """
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        last_used REAL NOT NULL,
        csrf TEXT NOT NULL
    )
    """,
    "CREATE INDEX session_user ON session (user_id, last_used)",
    "CREATE INDEX session_expires ON session (expires)",
    """
    CREATE TABLE login_link (
        id INTEGER PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        purpose TEXT NOT NULL CHECK (purpose IN ('first_admin', 'invite')),
        user_id INTEGER REFERENCES user (id) ON DELETE CASCADE,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        used_at REAL,
        CHECK ((user_id IS NULL) = (purpose = 'first_admin'))
    )
    """,
    "CREATE INDEX login_link_user ON login_link (user_id)",
    """
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        who TEXT NOT NULL,
        established TEXT NOT NULL,
        address TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'refused')),
        code TEXT NOT NULL,
        detail TEXT NOT NULL,
        request_id TEXT NOT NULL,
        count INTEGER NOT NULL,
        last_at REAL NOT NULL
    )
    """,
    "CREATE INDEX audit_who ON audit (who, id)",
    "CREATE INDEX audit_subject ON audit (subject, id)",
    "CREATE INDEX audit_outcome ON audit (outcome, id)",
    "CREATE INDEX audit_at ON audit (at)",
)
