"""Searching among many jobs: an index of all parts of their texts, kept in step by triggers; indexes of times and states."""

_TEXTS = "owner, app, description, inputs"
_INTO = f"INSERT INTO job_text (rowid, {_TEXTS}"
_NEW = f"{_INTO}) VALUES (new.id, new.owner, new.app, new.description, new.inputs);"
_OLD = f"{_INTO}, job_text) VALUES (old.id, old.owner, old.app, old.description, old.inputs, 'delete');"

STATEMENTS = (
    f"CREATE VIRTUAL TABLE job_text USING fts5 ({_TEXTS}, content='job', content_rowid='id', tokenize='trigram')",
    "INSERT INTO job_text (job_text) VALUES ('rebuild')",
    f"CREATE TRIGGER job_text_insert AFTER INSERT ON job BEGIN {_NEW} END",
    f"CREATE TRIGGER job_text_delete AFTER DELETE ON job BEGIN {_OLD} END",
    f"CREATE TRIGGER job_text_update AFTER UPDATE OF id, {_TEXTS} ON job BEGIN {_OLD} {_NEW} END",
    "CREATE INDEX job_started ON job (started)",
    "CREATE INDEX job_ended ON job (ended)",
    "CREATE INDEX job_state ON job (state, id)",
    # What a search without an index of its own reads instead of the rows with their long settings.
    f"CREATE INDEX job_searched ON job (id, state, created, started, ended, {_TEXTS})",
)
