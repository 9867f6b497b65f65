"""What differs from one database system to another. SQLite is the only one so far."""
