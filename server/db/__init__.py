"""SQLite: rows and the one way to change a state, how the database is opened, its migrations, searches and small settings."""
