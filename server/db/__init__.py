"""The database: its rows, the one way to change a state, how it is opened, its migrations, searches and small settings."""
